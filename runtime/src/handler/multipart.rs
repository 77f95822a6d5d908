//! A payload that is a form with files: `Payload<Multipart>`.
//!
//! The body of such a request is stored like any other. It is read when the request is posted, which writes nothing, and
//! again by the worker before each run, which writes the large files to disk. `multipart/read` reads the parts.

use std::any::TypeId;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde::de::{self, Deserialize, Deserializer};

use super::Run;
use super::body::PayloadError;

mod folder;
mod read;

use self::folder::Folder;
pub(crate) use self::folder::delete_left as delete_left_files;
pub(super) use self::read::boundary;

/// A file that is larger, in bytes, is written to disk before the run. A part that is no file must not be larger.
const IN_MEMORY: usize = 1 << 20;

/// A form with files, as a payload: `Payload<Multipart>` takes requests with the content type `multipart/form-data`, as
/// browsers and `curl -F` send them. It needs the feature `multipart`.
///
/// A part is a file if it has a file name, and a text otherwise. Files of more than 1 MiB are on disk while the handler
/// runs: [`Part::path`] says where. They are removed when the run has ended, also after a panic, and all copies of this
/// value are gone. [`Part::read`] reads a file wherever it is.
///
/// ```
/// use postback::{Multipart, Payload};
///
/// async fn transcribe(form: Payload<Multipart>) -> Result<String, String> {
///     let language = form.text("language").unwrap_or("en");
///     let audio = form.file("audio").ok_or("there is no file `audio`")?;
///     let bytes = audio.read().await.map_err(|error| error.to_string())?;
///     Ok(format!("{} bytes in {language}", bytes.len()))
/// }
/// ```
///
/// The server reads the form before it accepts a request. It answers 400 if the body is not valid or cut short, and 422
/// with the name of the part if a text is not UTF-8 or has more than 1 MiB. A form has 1000 parts at most. The whole body
/// has at most `server.max_payload` bytes, and is stored with the request.
#[derive(Clone, Debug)]
pub struct Multipart(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    parts: Vec<Part>,
    /// The folder with the large files. It is removed with this value.
    _folder: Option<Folder>,
}

/// One part of a [`Multipart`]: a file, or a text.
#[derive(Debug)]
pub struct Part {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    Disk { path: PathBuf, size: u64 },
}

impl Multipart {
    /// Returns the first text with this name. Returns `None` if no part with this name is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.named(name).find_map(Part::text)
    }

    /// Returns the first file with this name. Returns `None` if no part with this name is a file.
    pub fn file(&self, name: &str) -> Option<&Part> {
        self.named(name).find(|part| part.is_file())
    }

    /// Returns all parts with this name, in the order of the body. A browser sends several if the user chooses several
    /// files.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Part> {
        self.parts().iter().filter(move |part| part.name == name)
    }

    /// Returns all parts, in the order of the body.
    pub fn parts(&self) -> &[Part] {
        &self.0.parts
    }

    /// Reads a body. Nothing is written to disk.
    pub(crate) fn in_memory(headers: &HeaderMap, body: &[u8]) -> Result<Self, PayloadError> {
        let parts = read::parts(body, boundary(headers)?)?;
        Ok(Self(Arc::new(Parts { parts, _folder: None })))
    }

    /// Reads a body, and writes its large files to disk. This blocks.
    pub(crate) fn on_disk(headers: &HeaderMap, body: &[u8]) -> Result<Self, String> {
        let parts = boundary(headers).and_then(|boundary| read::parts(body, boundary));
        let parts = parts.map_err(|error| does_not_fit(&error))?;
        let written = written(parts).map_err(|error| {
            let folder = std::env::temp_dir();
            format!("the files of the payload cannot be written to {}: {error}", folder.display())
        });
        Ok(Self(Arc::new(written?)))
    }

    /// Returns the parts that the worker has read before the run. If there is no run, because the handler is only asked for
    /// its webhooks, reads them.
    pub(super) fn of(run: &Run) -> Result<Self, String> {
        match &run.info.multipart {
            Some(read) => read.clone().map_err(|text| text.to_string()),
            None => Self::in_memory(&run.headers, &run.body).map_err(|error| does_not_fit(&error)),
        }
    }
}

/// The server has checked the body before it accepted the request. But an older version of the program, with another
/// payload, may have accepted the request.
fn does_not_fit(error: &PayloadError) -> String {
    format!("the payload does not fit the handler: {error}")
}

/// Writes the large files into a folder.
fn written(mut parts: Vec<Part>) -> io::Result<Parts> {
    let mut folder = None;
    for (index, part) in parts.iter_mut().enumerate() {
        let Content::Memory(bytes) = &part.content else { continue };
        if bytes.len() <= IN_MEMORY {
            // The bytes are a piece of the whole body, which would stay in memory with them.
            part.content = Content::Memory(Bytes::copy_from_slice(bytes));
            continue;
        }
        let folder = match &mut folder {
            Some(folder) => folder,
            none => none.insert(Folder::new()?),
        };
        // No name of the caller becomes a name of the disk.
        let path = folder.path().join(index.to_string());
        File::create_new(&path)?.write_all(bytes)?;
        part.content = Content::Disk { path, size: bytes.len() as u64 };
    }
    Ok(Parts { parts, _folder: folder })
}

impl Part {
    /// Returns the name of the part. Several parts may have the same name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the part is a file.
    pub fn is_file(&self) -> bool {
        self.file_name.is_some()
    }

    /// Returns the name that the file had at the caller. `None`: the part is a text.
    ///
    /// Only the last component of a path is left, without control characters, and it may be empty. It is still the caller's
    /// word: two files can have the same name, and `.htaccess` is one. Do not write to it before you have checked it.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// Returns the content type, as the caller says. `None`: the caller does not say.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::Disk { size, .. } => *size,
        }
    }

    /// Returns the text. `None`: the part is a file.
    pub fn text(&self) -> Option<&str> {
        if self.is_file() { None } else { std::str::from_utf8(self.bytes()?).ok() }
    }

    /// Returns the bytes, if they are in memory. `None`: they are on disk.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes),
            Content::Disk { .. } => None,
        }
    }

    /// Returns where the file is on disk. `None`: the part has at most 1 MiB, and is in memory.
    pub fn path(&self) -> Option<&Path> {
        match &self.content {
            Content::Memory(_) => None,
            Content::Disk { path, .. } => Some(path),
        }
    }

    /// Returns the bytes, from memory or from disk.
    ///
    /// # Errors
    ///
    /// If the file on disk cannot be read.
    pub async fn read(&self) -> io::Result<Bytes> {
        match &self.content {
            Content::Memory(bytes) => Ok(bytes.clone()),
            Content::Disk { path, .. } => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || fs::read(path)).await.map_err(io::Error::other)?.map(Bytes::from)
            }
        }
    }
}

/// A `Multipart` is a whole payload. As a field of another one it cannot be read.
impl<'de> Deserialize<'de> for Multipart {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("a form with files is no part of another payload; take it as `Payload<Multipart>`"))
    }
}

pub(super) fn is_multipart<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<Multipart>()
}

#[cfg(test)]
mod tests;
