//! A file of lines that many threads add to, and of which nothing is lost when their process is killed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

/// Each line is given to the system as one write and is the system's from then on: it outlives the process, if not the
/// machine.
#[derive(Debug)]
pub struct Journal(Mutex<File>);

impl Journal {
    /// Begins a new file.
    ///
    /// # Errors
    /// It is there already, or can't be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(OpenOptions::new().create_new(true).append(true).open(path)?)))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn add(&self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        // A thread that panicked here has written its line or not: both leave the file as it should be.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)
    }
}
