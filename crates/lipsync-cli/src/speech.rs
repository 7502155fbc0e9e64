// SPDX-License-Identifier: MPL-2.0
//! Text-to-speech: by a program of the machine, into a WAV file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::{NamedTempFile, TempPath};

use crate::interrupt;

/// A command for the shell that reads a text from stdin and writes a WAV file to stdout; it comes before [`PROGRAMS`].
pub const VARIABLE: &str = "LIPSYNC_TTS";

/// The programs that are looked for; the first that is there is used. Debian's packages have their names.
pub const PROGRAMS: [Program; 2] = [
    // Its own default, kal, has the sound of a telephone.
    Program {
        name: "flite",
        wav_option: "-o",
        voice_option: "-voice",
        voice: Some("slt"),
        list_option: Some("-lv"),
    },
    Program { name: "espeak-ng", wav_option: "-w", voice_option: "-v", voice: None, list_option: None },
];

/// A text-to-speech program that takes `-f` for the file with the text.
pub struct Program {
    pub name: &'static str,
    /// The option for the WAV file.
    wav_option: &'static str,
    voice_option: &'static str,
    /// The voice, where none is asked for, unless it is the program's own choice.
    voice: Option<&'static str>,
    /// The option that lists the voices, where the program speaks with another voice than one that it has not.
    list_option: Option<&'static str>,
}

/// Longer texts would be spoken for hours.
const MAX_TEXT: usize = 100_000;

/// Whether a text can be spoken, by any program.
pub fn check(text: &str) -> Result<()> {
    if text.trim().is_empty() {
        bail!("the text is empty. Give something to say");
    }
    if text.len() > MAX_TEXT {
        bail!("the text has {} bytes, of which {MAX_TEXT} are taken at most. Speak it in parts", text.len());
    }
    Ok(())
}

/// Speaks a text; the file is removed when it is dropped.
///
/// # Errors
/// Where there is nothing to speak, no program that could, or that program fails.
pub fn speak(text: &str, voice: Option<&str>) -> Result<TempPath> {
    check(text)?;
    let temporary = |ending: &str| {
        let file = tempfile::Builder::new().prefix("lipsync-").suffix(ending).tempfile();
        file.context("no temporary file can be made for the speech")
    };
    let mut written = temporary(".txt")?;
    written.write_all(text.as_bytes()).context("the text cannot be written to a temporary file")?;
    let sound = temporary(".wav")?;
    let command = std::env::var_os(VARIABLE).filter(|command| !command.is_empty());
    let spoken_by = match &command {
        Some(command) => by_command(command, written.path(), &sound)?,
        None => by_program(voice, written.path(), sound.path())?,
    };
    if sound.as_file().metadata().map_or(0, |data| data.len()) == 0 {
        bail!("{spoken_by} has spoken nothing. Try another text or program ({VARIABLE})");
    }
    if !mend_header(sound.as_file()).context("the speech cannot be read again")? {
        bail!(
            "{spoken_by} has written something else than WAV. Give its option for WAV, or convert what it writes"
        );
    }
    Ok(sound.into_temp_path())
}

/// Writes the right bytes a second into a WAV header: flite writes those of 16 kHz whatever the rate, which GStreamer refuses.
/// False where there is no such header.
fn mend_header(file: &File) -> std::io::Result<bool> {
    let mut header = [0; 44];
    if file.read_exact_at(&mut header, 0).is_err() || &header[..4] != b"RIFF" || &header[8..16] != b"WAVEfmt "
    {
        return Ok(false);
    }
    let rate = u32::from_le_bytes([header[24], header[25], header[26], header[27]]);
    let block = u16::from_le_bytes([header[32], header[33]]);
    file.write_all_at(&rate.saturating_mul(block.into()).to_le_bytes(), 28)?;
    Ok(true)
}

/// Speaks by the user's own command; returns its name.
fn by_command(command: &OsStr, text: &Path, sound: &NamedTempFile) -> Result<String> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(File::open(text)?).stdout(sound.reopen()?);
    let name = command.to_string_lossy().into_owned();
    run(shell, &name)?;
    Ok(name)
}

/// Speaks by the first of [`PROGRAMS`] that is there; returns its name.
fn by_program(voice: Option<&str>, text: &Path, sound: &Path) -> Result<String> {
    for program in PROGRAMS {
        if let Some(voice) = voice {
            program.check_voice(voice)?;
        }
        let mut arguments: Vec<OsString> =
            vec!["-f".into(), text.into(), program.wav_option.into(), sound.into()];
        let voice = voice.or(program.voice);
        arguments.extend(voice.into_iter().flat_map(|voice| [program.voice_option.into(), voice.into()]));
        let mut command = Command::new(program.name);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        if run(command, program.name)? {
            return Ok(program.name.into());
        }
    }
    bail!(
        "there is no program here that speaks a text. Install flite or espeak-ng (sudo apt-get install flite), or name one in \
         {VARIABLE}: a command that reads the text from stdin and writes WAV to stdout"
    );
}

impl Program {
    /// Fails where the program lists its voices, and this is none of them; a file with a voice is one.
    fn check_voice(&self, voice: &str) -> Result<()> {
        let Some(option) = self.list_option else { return Ok(()) };
        let Ok(output) = Command::new(self.name).arg(option).output() else { return Ok(()) };
        let listed = String::from_utf8_lossy(&output.stdout);
        let names = listed.split_once(':').map_or("", |(_, names)| names.trim());
        if !output.status.success()
            || names.split_whitespace().any(|name| name == voice)
            || Path::new(voice).exists()
        {
            return Ok(());
        }
        bail!(
            "{} has no voice {voice}. It has {}",
            self.name,
            names.split_whitespace().collect::<Vec<_>>().join(", ")
        );
    }
}

/// Runs a program to its end; false where there is none of that name.
fn run(mut program: Command, name: &str) -> Result<bool> {
    let output = match program.stderr(Stdio::piped()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("{name} cannot be started")),
    };
    // Ctrl-C goes to it as well.
    interrupt::check()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        bail!("{name} cannot speak the text ({}): {said}", output.status);
    }
    Ok(true)
}
