//! The sums of the networks in a package's `onnx_dist_config.json`.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The file that tells them.
pub const FILE: &str = "onnx_dist_config.json";

const REMEDY: &str = "Copy the package again";

/// What came of comparing.
#[derive(Default)]
pub struct Sums {
    pub told: usize,
    pub right: usize,
    pub problems: Vec<String>,
}

impl Sums {
    /// Compares all files of which the folder tells a sum; `None` where it tells of none.
    pub fn of(folder: &Path) -> Option<Self> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Self::failed(&path, &error.to_string())),
        };
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => {
                let mut sums = Self::default();
                sums.compare_all(folder, &value);
                Some(sums)
            }
            Err(error) => Some(Self::failed(&path, &error.to_string())),
        }
    }

    fn failed(path: &Path, error: &str) -> Self {
        let problem = format!("{}: cannot be read: {error}. {REMEDY}", path.display());
        Self { problems: vec![problem], ..Self::default() }
    }

    /// Entries with a file and a sum may lie at any depth.
    fn compare_all(&mut self, folder: &Path, value: &Value) {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        if let (Some(file), Some(sum)) = (text("file"), text("sha256")) {
            if value.get("included") != Some(&Value::Bool(false)) {
                self.compare(&folder.join(file), sum);
            }
            return;
        }
        let children: Vec<&Value> = match value {
            Value::Object(object) => object.values().collect(),
            Value::Array(array) => array.iter().collect(),
            _ => Vec::new(),
        };
        children.into_iter().for_each(|child| self.compare_all(folder, child));
    }

    fn compare(&mut self, path: &Path, expected: &str) {
        self.told += 1;
        match sha256(path) {
            Ok(sum) if sum.eq_ignore_ascii_case(expected) => self.right += 1,
            Ok(sum) => self.problems.push(format!(
                "{}: its sha256 is {sum}, and {FILE} says {expected}. {REMEDY}: this is not the file that was packed",
                path.display()
            )),
            Err(error) => self.problems.push(format!("{}: cannot be read: {error}. {REMEDY}", path.display())),
        }
    }
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => break,
            n => hash.update(&block[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
