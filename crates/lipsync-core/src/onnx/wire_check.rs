// SPDX-License-Identifier: MPL-2.0
//! Bounds the memory that decoding a file takes, by a walk over its protobuf wire format beforehand.
//!
//! An empty node takes two bytes in a file and hundreds in memory, so the size of a file bounds nothing. The walk follows
//! the messages of the format; unknown fields are skipped, as the decoder does.

use crate::limits::NETWORK_MEMORY;

/// The type of a field, as far as it matters for memory.
#[derive(Clone, Copy, PartialEq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    /// `TypeProto.Tensor` and `SparseTensor`.
    TensorType,
    Shape,
    /// `TypeProto.Sequence`, `Map` and `Optional`.
    WrappedType,
    Function,
    Training,
    NodeDevices,
    Sharding,
    ShardedDim,
    IntList,
    /// A message whose repeated fields are all leaves.
    Flat,
    /// Packed integers.
    Numbers,
    /// A string, bytes, or a message of a few of these.
    Leaf,
}

/// Nested messages; every subgraph takes some.
const DEPTH: usize = 48;

/// Refuses a file that would take too much memory beside its raw data.
///
/// # Errors
/// What is wrong.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    Budget(NETWORK_MEMORY).message(bytes, Message::Model, DEPTH)
}

/// Bytes of memory that may still be used.
struct Budget(usize);

impl Budget {
    fn message(&mut self, mut bytes: &[u8], message: Message, depth: usize) -> Result<(), String> {
        if depth == 0 {
            return Err("has messages too deep within each other".into());
        }
        while !bytes.is_empty() {
            let tag = varint(&mut bytes).ok_or("ends within a field")?;
            let field = field(&mut bytes, tag & 7).ok_or("ends within a field")?;
            let child = if field.is_some() { child(message, tag >> 3) } else { Message::Leaf };
            self.spend(child.size())?;
            match (field, child) {
                (None, _) | (_, Message::Leaf) => {}
                // The last byte of a varint has its highest bit clear.
                (Some(field), Message::Numbers) => {
                    let numbers = field.iter().filter(|byte| **byte < 0x80).count();
                    self.spend(numbers.saturating_mul(size_of::<i64>()))?;
                }
                (Some(field), child) => self.message(field, child, depth - 1)?,
            }
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let problem = || format!("would take more than {NETWORK_MEMORY} bytes of memory beside its weights");
        self.0 = self.0.checked_sub(bytes).ok_or_else(problem)?;
        Ok(())
    }
}

/// Splits off the value of a field: `Some(None)` for a single number.
fn field<'a>(bytes: &mut &'a [u8], wire_type: u64) -> Option<Option<&'a [u8]>> {
    match wire_type {
        0 => varint(bytes).map(|_| None),
        1 => bytes.split_off(..8).map(|_| None),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            bytes.split_off(..length).map(Some)
        }
        5 => bytes.split_off(..4).map(|_| None),
        // ONNX has no groups, which protobuf deprecated before it.
        _ => None,
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

impl Message {
    /// Roughly the memory of an entry, without its own fields.
    fn size(self) -> usize {
        match self {
            Self::Attribute | Self::SparseTensor => 1024,
            Self::Graph | Self::Tensor | Self::Function | Self::Training => 512,
            Self::Leaf | Self::Numbers | Self::Flat => 64,
            _ => 256,
        }
    }
}

/// The type of a field by its number, as in `onnx.proto`.
fn child(message: Message, field: u64) -> Message {
    match (message, field) {
        (Message::Model, 7) | (Message::Attribute, 6 | 11) | (Message::Training, 1 | 2) => Message::Graph,
        (Message::Model, 20) => Message::Training,
        (Message::Model, 25) => Message::Function,
        (Message::Graph, 1) | (Message::Function, 7) => Message::Node,
        (Message::Node, 5) | (Message::Function, 11) => Message::Attribute,
        (Message::Graph, 5) | (Message::Attribute, 5 | 10) | (Message::SparseTensor, 1 | 2) => {
            Message::Tensor
        }
        (Message::Graph, 15) | (Message::Attribute, 22 | 23) => Message::SparseTensor,
        (Message::Graph, 11..=13) | (Message::Function, 12) => Message::ValueInfo,
        (Message::ValueInfo, 2) | (Message::Attribute, 14 | 15) | (Message::WrappedType, 1 | 2) => {
            Message::Type
        }
        (Message::Type, 1 | 8) => Message::TensorType,
        (Message::Type, 4 | 5 | 9) => Message::WrappedType,
        (Message::TensorType, 2) => Message::Shape,
        (Message::Node, 10) => Message::NodeDevices,
        (Message::NodeDevices, 2) => Message::Sharding,
        (Message::Sharding, 3) => Message::IntList,
        (Message::Sharding, 4) => Message::ShardedDim,
        (Message::Model, 26) | (Message::Graph, 14) | (Message::ShardedDim, 2) => Message::Flat,
        // A decoder accepts packed integers in every repeated field.
        (Message::Tensor, 1 | 5 | 7 | 11)
        | (Message::Attribute, 8)
        | (Message::SparseTensor, 3)
        | (Message::Sharding | Message::IntList, 2) => Message::Numbers,
        _ => Message::Leaf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that holds bytes.
    fn wrapped(number: u64, bytes: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        prost::encoding::encode_varint(number << 3 | 2, &mut field);
        prost::encoding::encode_varint(bytes.len() as u64, &mut field);
        field.extend_from_slice(bytes);
        field
    }

    #[test]
    fn networks_take_about_what_they_say() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for file in ["models/iris/generator.onnx", "models/iris/audio_encoder.onnx"] {
            let bytes = std::fs::read(root.join(file)).unwrap();
            let mut budget = Budget(NETWORK_MEMORY);
            budget.message(&bytes, Message::Model, DEPTH).unwrap();
            let spent = NETWORK_MEMORY - budget.0;
            assert!((10_000..NETWORK_MEMORY / 100).contains(&spent), "{file}: {spent}");
        }
    }

    #[test]
    fn small_files_of_many_entries_are_refused() {
        let spend = |bytes: &[u8]| Budget(1 << 20).message(bytes, Message::Model, DEPTH);
        let nodes = wrapped(7, &wrapped(1, &[]).repeat(1 << 13));
        assert!(spend(&nodes).unwrap_err().contains("would take more than"));
        let attributes = wrapped(7, &wrapped(1, &wrapped(5, &[]).repeat(1 << 11)));
        assert!(spend(&attributes).is_err());
        let numbers = wrapped(7, &wrapped(5, &wrapped(7, &vec![0; 1 << 18])));
        assert!(spend(&numbers).is_err());
        // The same bytes as they are weigh nothing.
        let raw = wrapped(7, &wrapped(5, &wrapped(9, &vec![0; 1 << 18])));
        assert_eq!(spend(&raw), Ok(()));
    }

    #[test]
    fn what_ends_early_or_goes_deep_is_refused() {
        let whole = wrapped(7, &wrapped(1, &wrapped(4, b"Conv")));
        assert_eq!(check(&whole), Ok(()));
        for end in 1..whole.len() {
            assert!(check(&whole[..end]).is_err(), "{end}");
        }
        let deep = (0..60).fold(Vec::new(), |graph, _| wrapped(1, &wrapped(5, &wrapped(6, &graph))));
        assert!(check(&wrapped(7, &deep)).unwrap_err().contains("too deep"));
    }
}
