//! Weights that lie in files of their own beside a model, taken in.

use std::path::{Component, Path};

use super::proto::{self, Graph, Tensor};
use crate::error::{Error, Result};
use crate::file;
use crate::limits::NETWORK_BYTES;

const REMEDY: &str = "Copy the file of weights beside the model, or export the model as one file";

/// Takes in all weights of a model, wherever in the graph they are; tells whether there were any in other files.
///
/// # Errors
/// [`Error::Invalid`] where one is not in a file beside the model; [`Error::NotFound`] where there is no such file.
pub fn take_in(model: &Path, graph: &mut Graph) -> Result<bool> {
    let mut files = Files { model, last: None, left: NETWORK_BYTES };
    files.of_graph(graph)?;
    Ok(files.last.is_some())
}

struct Files<'a> {
    model: &'a Path,
    /// The file that was read last, which most often is the next one, too.
    last: Option<(String, Vec<u8>)>,
    /// Bytes that may still be taken in: the same part of a file can be asked for again and again.
    left: u64,
}

impl Files<'_> {
    fn of_graph(&mut self, graph: &mut Graph) -> Result<()> {
        graph.initializer.iter_mut().try_for_each(|tensor| self.of_tensor(tensor))?;
        for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
            let mut tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
            tensors.try_for_each(|tensor| self.of_tensor(tensor))?;
            let mut graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
            // The reader of the file has bounded how deep they go.
            graphs.try_for_each(|graph| self.of_graph(graph))?;
        }
        Ok(())
    }

    fn of_tensor(&mut self, tensor: &mut Tensor) -> Result<()> {
        if tensor.data_location() == proto::EXTERNAL {
            tensor.raw_data = Some(self.bytes(tensor)?);
            tensor.external_data.clear();
            tensor.data_location = None;
        }
        Ok(())
    }

    fn bytes(&mut self, tensor: &Tensor) -> Result<Vec<u8>> {
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key() == key);
        let number = |key: &str| entry(key).map(|entry| entry.value().parse::<usize>()).transpose();
        let invalid = |problem: String| Error::invalid(self.model, problem, REMEDY);
        let name = tensor.name();
        let location = entry("location").map_or("", |entry| entry.value());
        if !is_name(location) {
            return Err(invalid(format!(
                "keeps the weight {name:?} in {location:?}, which is no file beside it"
            )));
        }
        let (Ok(offset), Ok(length)) = (number("offset"), number("length")) else {
            return Err(invalid(format!("does not say where in {location:?} the weight {name:?} is")));
        };
        let file = match self.last.take() {
            Some((last, bytes)) if last == location => bytes,
            _ => read(self.model, location)?,
        };
        let start = offset.unwrap_or(0);
        let end = length.map_or(Some(file.len()), |length| start.checked_add(length));
        let part = end.and_then(|end| file.get(start..end));
        let part =
            part.ok_or_else(|| invalid(format!("{location:?} is too short for the weight {name:?}")))?;
        let left = self.left.checked_sub(part.len() as u64);
        let left = left.ok_or_else(|| {
            invalid(format!("has weights of more than {NETWORK_BYTES} bytes in other files"))
        })?;
        let part = part.to_vec();
        (self.left, self.last) = (left, Some((location.into(), file)));
        Ok(part)
    }
}

/// Whether it is the name of a file, and no path.
fn is_name(location: &str) -> bool {
    let mut parts = Path::new(location).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == location)
}

/// Reads a file beside the model. A model must not reach for files elsewhere, by a link neither.
fn read(model: &Path, name: &str) -> Result<Vec<u8>> {
    let folder = model.parent().unwrap_or(Path::new(""));
    let path = folder.join(name);
    if path.is_symlink() {
        return Err(Error::invalid(&path, "is a link, and weights must lie beside the model", REMEDY));
    }
    file::read(&path, NETWORK_BYTES, REMEDY)
}
