// SPDX-License-Identifier: MPL-2.0
//! The instruction sets that there are kernels for, and which of them this processor has.
//!
//! ```sh
//! cargo run --example instruction_sets -p lipsync-core
//! ```

use lipsync_core::kernels::{Isa, detect};

fn main() {
    let names = |supported: bool| -> String {
        let sets = Isa::ALL.into_iter().filter(|isa| isa.is_supported() == supported);
        let names: Vec<&str> = sets.map(Isa::name).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    };
    println!("kernels of this processor:      {}", names(true));
    println!("not here, and so not tested:    {}", names(false));
    println!("8-bit networks are played with: {}", detect().map_or("ONNX Runtime alone", Isa::name));
}
