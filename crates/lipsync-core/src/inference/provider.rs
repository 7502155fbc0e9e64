// SPDX-License-Identifier: MPL-2.0
//! The execution providers of ONNX Runtime by name.

/// The execution providers other than the CPU: variant, name in `execution-provider`, description. The table
/// is passed to the macro `make`.
#[doc(hidden)]
#[macro_export]
macro_rules! execution_providers {
    ($make:ident) => {
        $make! {
            Cuda "cuda" "CUDA: NVIDIA GPUs, by CUDA and cuDNN";
            TensorRt "tensorrt" "TensorRT: NVIDIA GPUs, compiled for the GPU at each start";
            TensorRtRtx "tensorrt-rtx" "TensorRT for RTX: NVIDIA RTX GPUs, compiled for the GPU at each start";
            MiGraphX "migraphx" "MIGraphX: AMD GPUs";
            Rocm "rocm" "ROCm: AMD GPUs; in ONNX Runtime since 1.23 MIGraphX is in its place";
            OpenVino "openvino" "OpenVINO: Intel processors, GPUs and NPUs, and other x86 processors";
            DirectMl "directml" "DirectML: any GPU on Windows";
            CoreMl "coreml" "CoreML: Apple's processors, GPUs and neural engine";
            WebGpu "webgpu" "WebGPU: any GPU, by Vulkan, Metal or Direct3D 12";
            Qnn "qnn" "QNN: Qualcomm's NPUs and GPUs";
            Nnapi "nnapi" "NNAPI: Android's accelerators";
            Xnnpack "xnnpack" "XNNPACK: the processor, by Google's kernels";
        }
    };
}

macro_rules! providers {
    ($($provider:ident $name:literal $what:literal;)*) => {
        /// The execution provider of the networks.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum ExecutionProvider {
            /// ONNX Runtime's own kernels on the processor.
            #[default]
            Cpu,
            $(
                #[doc = $what]
                $provider,
            )*
        }

        impl ExecutionProvider {
            /// All execution providers.
            pub const ALL: &[Self] = &[Self::Cpu, $(Self::$provider,)*];

            /// Its name in `execution-provider`.
            pub fn name(self) -> &'static str {
                match self {
                    Self::Cpu => "cpu",
                    $(Self::$provider => $name,)*
                }
            }
        }
    };
}

execution_providers!(providers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_property() {
        for provider in ExecutionProvider::ALL {
            let name = provider.name();
            assert_eq!(
                ExecutionProvider::ALL.iter().filter(|other| other.name() == name).count(),
                1,
                "{name}"
            );
        }
    }
}
