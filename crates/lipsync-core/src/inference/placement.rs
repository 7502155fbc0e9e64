// SPDX-License-Identifier: MPL-2.0
//! Whether an execution provider takes any node of a graph, or ONNX Runtime runs all of it on the CPU.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ort::logging::LogLevel;
use ort::session::builder::SessionBuilder;

use crate::error::{Error, Result};

/// Whether a provider takes any node of a graph.
///
/// ONNX Runtime assigns nodes to a provider, and the rest to the CPU. A few are normal: CUDA, for example,
/// leaves shape computations to the CPU on purpose, so `session.disable_cpu_ep_fallback`, which allows none,
/// is too strict. But where all nodes are left over, the provider is not used at all. ONNX Runtime tells that
/// only in its log; if the wording changes one day, nothing is refused.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placement {
    cpu_only: Arc<AtomicBool>,
}

impl Placement {
    /// Reads the log of the session that is being created.
    pub(crate) fn watch(&self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        let placement = self.clone();
        let logger = move |_: LogLevel, _: &str, _: &str, _: &str, message: &str| placement.note(message);
        Ok(builder.with_logger(Arc::new(logger))?.with_log_level(LogLevel::Verbose)?)
    }

    fn note(&self, message: &str) {
        if message.contains("All nodes placed on [CPUExecutionProvider]") {
            self.cpu_only.store(true, Ordering::Relaxed);
        }
    }

    /// Refuses a session in which the provider has no node.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the model.
    pub(crate) fn check(&self, path: &Path, engine: &impl Display) -> Result<()> {
        if !self.cpu_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::invalid(
            path,
            format!("{engine} can run no part of it, and all of it would run on the CPU"),
            "Check device, or use execution-provider=cpu",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::runtime::{Engine, ExecutionProvider};

    #[test]
    fn placement_is_read_from_the_log() {
        let engine = Engine { provider: ExecutionProvider::Xnnpack, ..Engine::default() };
        let check = |lines: &[&str]| {
            let placement = Placement::default();
            lines.iter().for_each(|line| placement.note(line));
            placement.check(Path::new("generator.onnx"), &engine)
        };
        assert!(check(&[" All nodes placed on [XnnpackExecutionProvider]. Number of nodes: 1"]).is_ok());
        let partly = [
            "Node placements",
            " Node(s) placed on [CPUExecutionProvider]. Number of nodes: 3",
            " Node(s) placed on [XnnpackExecutionProvider]. Number of nodes: 9",
        ];
        assert!(check(&partly).is_ok());
        let error =
            check(&["Node placements", " All nodes placed on [CPUExecutionProvider]. Number of nodes: 12"]);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("generator.onnx") && message.contains("xnnpack"), "{message}");
    }
}
