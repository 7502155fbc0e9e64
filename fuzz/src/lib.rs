//! What the fuzz targets share. `README.md` says how they are run.

pub mod avatar;
pub mod fault;
pub mod folder;
pub mod mutate;
pub mod networks;
/// The messages of an ONNX file: the core's own, which it keeps to itself.
#[path = "../../crates/lipsync-core/src/onnx/proto.rs"]
pub mod proto;
pub mod watchdog;
