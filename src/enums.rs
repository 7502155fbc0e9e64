// SPDX-License-Identifier: MPL-2.0
//! The enumerations among the properties: the core's, as GObject knows them.

use gst::glib;
use lipsync_core::features::RowSelection;
use lipsync_core::generator::face;
use lipsync_core::inference::{precision, runtime};
use lipsync_core::render::timeline;

/// Property `execution-provider`, of the core's table.
macro_rules! providers {
    ($($provider:ident $name:literal $what:literal;)*) => {
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
        #[enum_type(name = "GstLipsyncExecutionProvider")]
        pub enum ExecutionProvider {
            #[default]
            #[enum_value(name = "CPU: the processor, by ONNX Runtime itself", nick = "cpu")]
            Cpu,
            $(
                #[enum_value(name = $what, nick = $name)]
                $provider,
            )*
        }

        impl From<ExecutionProvider> for runtime::ExecutionProvider {
            fn from(provider: ExecutionProvider) -> Self {
                match provider {
                    ExecutionProvider::Cpu => Self::Cpu,
                    $(ExecutionProvider::$provider => Self::$provider,)*
                }
            }
        }
    };
}

lipsync_core::execution_providers!(providers);

/// Property `precision`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstLipsyncPrecision")]
pub enum Precision {
    #[default]
    #[enum_value(
        name = "Auto: 8 bits where the avatar has a network for it and this processor is faster at it, else float32",
        nick = "auto"
    )]
    Auto,
    #[enum_value(name = "Fp32: float32, exactly as the network was trained", nick = "fp32")]
    Fp32,
    #[enum_value(
        name = "Half: bfloat16 or float16 in the place of float32, as the hardware has it",
        nick = "half"
    )]
    Half,
    #[enum_value(
        name = "Int8: 8 bits, by lipsync quantize; an error where there is no such network",
        nick = "int8"
    )]
    Int8,
}

impl From<Precision> for precision::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Auto => Self::Auto,
            Precision::Fp32 => Self::Fp32,
            Precision::Half => Self::Half,
            Precision::Int8 => Self::Int8,
        }
    }
}

/// Property `context`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstLipsyncContext")]
pub enum Context {
    #[default]
    #[enum_value(name = "Auto: as the avatar says", nick = "auto")]
    Auto,
    #[enum_value(
        name = "Window: the 16 windows of sound around the frame, as SyncTalk_2D trains",
        nick = "window"
    )]
    Window,
    #[enum_value(
        name = "Tile: the frame's own window 16 times, as digital-clone was demonstrated",
        nick = "tile"
    )]
    Tile,
}

impl Context {
    /// `None` for what the avatar says.
    pub fn chosen(self) -> Option<RowSelection> {
        match self {
            Self::Auto => None,
            Self::Window => Some(RowSelection::Window),
            Self::Tile => Some(RowSelection::Tile),
        }
    }
}

/// Property `paste`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstLipsyncPaste")]
pub enum Paste {
    #[default]
    #[enum_value(name = "Auto: as the avatar says", nick = "auto")]
    Auto,
    #[enum_value(name = "Inner: inside the border of the face crop, as SyncTalk_2D does", nick = "inner")]
    Inner,
    #[enum_value(
        name = "Full: over the whole face rectangle, as digital-clone's scripts and Wav2Lip do",
        nick = "full"
    )]
    Full,
}

impl Paste {
    /// `None` for what the avatar says.
    pub fn chosen(self) -> Option<face::Paste> {
        match self {
            Self::Auto => None,
            Self::Inner => Some(face::Paste::Inner),
            Self::Full => Some(face::Paste::Full),
        }
    }
}

/// Property `state`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstLipsyncState")]
pub enum State {
    #[default]
    #[enum_value(name = "Auto: speaking while there is speech, idle else", nick = "auto")]
    Auto,
    #[enum_value(name = "Idle: nobody speaks", nick = "idle")]
    Idle,
    #[enum_value(name = "Listening: somebody else speaks", nick = "listening")]
    Listening,
    #[enum_value(name = "Thinking: the answer is on its way", nick = "thinking")]
    Thinking,
    #[enum_value(name = "Speaking: also in pauses", nick = "speaking")]
    Speaking,
}

impl From<State> for timeline::State {
    fn from(state: State) -> Self {
        match state {
            State::Auto => Self::Auto,
            State::Idle => Self::Idle,
            State::Listening => Self::Listening,
            State::Thinking => Self::Thinking,
            State::Speaking => Self::Speaking,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_called_as_in_the_core() {
        let class = glib::EnumClass::new::<ExecutionProvider>();
        assert_eq!(class.values().len(), runtime::ExecutionProvider::ALL.len());
        for (value, provider) in class.values().iter().zip(runtime::ExecutionProvider::ALL) {
            assert_eq!(value.nick(), provider.name());
        }
    }
}
