// SPDX-License-Identifier: MPL-2.0
//! Checks the networks of a package against the checksums in its `onnx_dist_config.json`.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use lipsync_core::error::Error;
use lipsync_core::file::{self, Inside, Sha256};
use lipsync_core::limits::{MANIFEST_BYTES, NETWORK_BYTES, SUMS};
use lipsync_core::text::{plain, short};
use serde_json::Value;

use crate::interrupt;

/// The file that lists the checksums.
pub const FILE: &str = "onnx_dist_config.json";

const REMEDY: &str = "Copy the package again";

/// The result of the check.
#[derive(Default)]
pub struct Checksums {
    pub listed: usize,
    pub matching: usize,
    pub problems: Vec<String>,
}

/// The files of a package, each of which is read once.
struct Package<'a> {
    list: &'a Path,
    inside: Inside,
    sums: HashMap<PathBuf, String>,
    /// Bytes that may still be read.
    left: u64,
}

impl Checksums {
    /// Checks all files that the folder lists a checksum for; `None` where there is no list.
    pub fn of(folder: &Path) -> Option<Self> {
        let path = folder.join(FILE);
        path.symlink_metadata().ok()?;
        let compared = Inside::new(folder).and_then(|inside| {
            inside.check(&path)?;
            let text = file::read_text(&path, MANIFEST_BYTES, REMEDY)?;
            Ok((inside, text))
        });
        let (inside, text) = match compared {
            Ok(opened) => opened,
            Err(error) => return Some(Self::failed(error.to_string())),
        };
        let value = match serde_json::from_str::<Value>(&text) {
            Ok(value) => value,
            Err(error) => {
                return Some(Self::failed(format!(
                    "{}: cannot be read: {error}. {REMEDY}",
                    plain(path.display())
                )));
            }
        };
        let mut listed = Vec::new();
        entries(&value, &mut listed);
        if listed.len() > SUMS {
            let problem =
                format!("{}: lists {} checksums, more than {SUMS}", plain(path.display()), listed.len());
            return Some(Self::failed(format!("{problem}. {REMEDY}")));
        }
        let mut package = Package { list: &path, inside, sums: HashMap::new(), left: NETWORK_BYTES };
        let mut sums = Self { listed: listed.len(), ..Self::default() };
        for (file, sum) in listed {
            match package.compare(file, sum) {
                Ok(()) => sums.matching += 1,
                Err(problem) => sums.problems.push(problem),
            }
        }
        Some(sums)
    }

    fn failed(problem: String) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }
}

/// Files and their checksums; entries with both may lie at any depth.
fn entries<'a>(value: &'a Value, listed: &mut Vec<(&'a str, &'a str)>) {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    if let (Some(file), Some(sum)) = (text("file"), text("sha256")) {
        if value.get("included") != Some(&Value::Bool(false)) {
            listed.push((file, sum));
        }
        return;
    }
    match value {
        Value::Object(object) => object.values().for_each(|child| entries(child, listed)),
        Value::Array(array) => array.iter().for_each(|child| entries(child, listed)),
        _ => {}
    }
}

impl Package<'_> {
    fn compare(&mut self, file: &str, expected: &str) -> Result<(), String> {
        let path = self.inside.named(self.list, "file", file.as_ref()).map_err(|e| e.to_string())?;
        let sum = match self.sums.get(&path) {
            Some(sum) => sum.clone(),
            None => self.sum(&path).map_err(|e| e.to_string())?,
        };
        let is_right = sum.eq_ignore_ascii_case(expected);
        let problem = format!(
            "{}: its SHA-256 is {sum}, not {} as in {FILE}. {REMEDY}: this is not the file that was packed",
            plain(path.display()),
            short(expected, 100),
        );
        self.sums.insert(path, sum);
        if is_right { Ok(()) } else { Err(problem) }
    }

    fn sum(&mut self, path: &Path) -> Result<String, Error> {
        self.inside.check(path)?;
        let mut file = file::open(path, self.left, REMEDY)?;
        let mut hash = Sha256::default();
        let mut block = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut block).map_err(|e| Error::io(path, &e, REMEDY))?;
            if read == 0 || interrupt::requested() {
                break;
            }
            self.left = self.left.saturating_sub(read as u64);
            hash.update(&block[..read]);
        }
        Ok(hash.finish())
    }
}
