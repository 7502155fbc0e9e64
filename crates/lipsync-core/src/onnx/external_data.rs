// SPDX-License-Identifier: MPL-2.0
//! External data: tensors that a model stores in files beside it, loaded into the model.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::proto::tensor_proto::DataLocation;
use super::proto::{GraphProto, TensorProto};
use crate::error::{Error, Result};
use crate::file::{self, Inside};
use crate::limits::NETWORK_BYTES;

/// Loads the external data of a graph and its subgraphs; returns whether there was any.
///
/// # Errors
/// [`Error::Invalid`] where a location is not a file beside the model; [`Error::NotFound`] where that file is missing.
pub fn load(model: &Path, graph: &mut GraphProto) -> Result<bool> {
    let mut loader = Loader::new(model);
    loader.load(graph)?;
    Ok(loader.found)
}

/// ONNX Runtime reads a location with this marker as an address in memory.
const MEMORY_ADDRESS: &str = "_ORT_MEM_ADDR_";

/// Loads external data, within a limit of bytes for the whole model.
struct Loader<'a> {
    model: &'a Path,
    folder: &'a Path,
    /// Bytes that may still be read. Many tensors can name the same range of a file, so file sizes bound nothing.
    left: u64,
    found: bool,
}

impl<'a> Loader<'a> {
    const REMEDY: &'static str = "Copy the file of weights beside the model, or export the model as one file";

    fn new(model: &'a Path) -> Self {
        // A model path without a folder is relative to the current one.
        let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self { model, folder: folder.unwrap_or(Path::new(".")), left: NETWORK_BYTES, found: false }
    }

    fn load(&mut self, graph: &mut GraphProto) -> Result<()> {
        graph.initializer.iter_mut().try_for_each(|tensor| self.load_tensor(tensor))?;
        for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
            let mut tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
            tensors.try_for_each(|tensor| self.load_tensor(tensor))?;
            // Reading the file has bounded the nesting.
            let mut graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
            graphs.try_for_each(|graph| self.load(graph))?;
        }
        Ok(())
    }

    fn load_tensor(&mut self, tensor: &mut TensorProto) -> Result<()> {
        if tensor.data_location() == DataLocation::External {
            tensor.raw_data = Some(self.read(tensor)?);
            tensor.external_data.clear();
            tensor.data_location = None;
            self.found = true;
        }
        Ok(())
    }

    /// Reads the bytes of a tensor from its file.
    fn read(&mut self, tensor: &TensorProto) -> Result<Vec<u8>> {
        let entry = |key: &str| {
            tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
        };
        let number = |key: &str| entry(key).map(str::parse::<u64>).transpose();
        let invalid = |problem: String| Error::invalid(self.model, problem, Self::REMEDY);
        let name = tensor.name();
        let location = entry("location").unwrap_or_default();
        let path = self.resolve(name, location)?;
        let (Ok(offset), Ok(length)) = (number("offset"), number("length")) else {
            return Err(invalid(format!("does not say where in {location} the weight \"{name}\" is")));
        };
        let mut file = file::open(&path, NETWORK_BYTES, Self::REMEDY)?;
        let unreadable = |e: std::io::Error| Error::io(&path, &e, Self::REMEDY);
        let size = file.metadata().map_err(unreadable)?.len();
        let start = offset.unwrap_or(0);
        let length = length.or(size.checked_sub(start));
        let inside = length.filter(|length| start.checked_add(*length).is_some_and(|end| end <= size));
        let length =
            inside.ok_or_else(|| invalid(format!("{location} is too short for the weight \"{name}\"")))?;
        self.left = self.left.checked_sub(length).ok_or_else(|| {
            invalid(format!("keeps more than the {NETWORK_BYTES} bytes of a model in other files"))
        })?;
        let mut values = Vec::new();
        file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        file.take(length).read_to_end(&mut values).map_err(unreadable)?;
        Ok(values)
    }

    /// The path of a tensor's file, which must lie inside the model's folder.
    fn resolve(&self, name: &str, location: &str) -> Result<PathBuf> {
        let is_inside = |part| matches!(part, Component::Normal(_));
        let path = self.folder.join(location);
        let is_path = Path::new(location).components().all(is_inside) && !location.contains(MEMORY_ADDRESS);
        let problem = if location.is_empty() || !is_path {
            "no file beside it"
        } else if Inside::new(self.folder)?.check(&path).is_err() {
            "a link out of its folder"
        } else {
            return Ok(path);
        };
        let problem = format!("keeps the weight \"{name}\" in \"{location}\", which is {problem}");
        Err(Error::invalid(self.model, problem, Self::REMEDY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::Model;
    use crate::onnx::proto::{ModelProto, StringStringEntryProto};
    use prost::Message;

    /// A model of one weight in another file.
    fn model(location: &str, entries: &[(&str, u64)]) -> Vec<u8> {
        let entry =
            |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        let location = entry("location", location.into());
        let numbers = entries.iter().map(|(key, number)| entry(key, number.to_string()));
        let weight = TensorProto {
            name: Some("w\u{1b}[2J".into()),
            data_location: Some(DataLocation::External.into()),
            external_data: std::iter::once(location).chain(numbers).collect(),
            ..Default::default()
        };
        let graph = GraphProto { initializer: vec![weight], ..Default::default() };
        ModelProto { graph: Some(graph), ..Default::default() }.encode_to_vec()
    }

    #[cfg(unix)]
    #[test]
    fn weights_in_other_files_are_read_where_they_lie_beside_the_model() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| folder.path().join(name);
        let (path, secret) = (at("model.onnx"), outside.path().join("secret"));
        std::fs::write(at("weights"), [1, 2, 3, 4, 5]).unwrap();
        std::fs::write(&secret, [9; 5]).unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, at(name)).unwrap();
        link(Path::new("weights"), "inside");
        link(&secret, "out");
        link(outside.path(), "folder");
        link(Path::new("/dev/zero"), "zero");
        let values = |location: &str, entries: &[(&str, u64)]| {
            let model = Model::decode_unchecked(&path, &model(location, entries))?;
            Ok::<_, Error>(model.graph().initializer[0].raw_data.clone().unwrap())
        };
        for location in ["weights", "inside"] {
            assert_eq!(values(location, &[]).unwrap(), [1, 2, 3, 4, 5]);
            assert_eq!(values(location, &[("offset", 1), ("length", 3)]).unwrap(), [2, 3, 4]);
            assert_eq!(values(location, &[("offset", 5)]).unwrap(), [0; 0]);
            for (offset, length) in [(6, 0), (1, 5), (u64::MAX, 1), (1, u64::MAX)] {
                let error = values(location, &[("offset", offset), ("length", length)]).unwrap_err();
                assert!(error.to_string().contains("is too short for the weight"), "{error}");
            }
        }
        for location in ["out", "folder/secret", "zero"] {
            let error = values(location, &[]).unwrap_err().to_string();
            let expected =
                format!("the weight \"w\\u{{1b}}[2J\" in \"{location}\", which is a link out of its folder");
            assert!(error.contains(&expected), "{error}");
        }
        for location in ["", "../weights", "/etc/passwd", "a/../weights", "*/_ORT_MEM_ADDR_/*"] {
            let error = values(location, &[]).unwrap_err().to_string();
            assert!(error.contains("which is no file beside it"), "{error}");
        }
    }

    #[test]
    fn all_weights_in_other_files_are_bounded_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(folder.path().join("weights"), [0; 100]).unwrap();
        let mut loader = Loader::new(&path);
        loader.left = 150;
        let model = ModelProto::decode(&model("weights", &[])[..]).unwrap();
        let weight = &model.graph.unwrap().initializer[0];
        assert_eq!(loader.read(weight).unwrap().len(), 100);
        let error = loader.read(weight).unwrap_err().to_string();
        assert!(error.contains("bytes of a model in other files"), "{error}");
    }
}
