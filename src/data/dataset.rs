//! Files of examples: read whole, written whole.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::example::{Example, Picture};
use super::json_lines::{LineError, example_line, read_example};
use crate::dialogue::Pixels;
use crate::imaging;

/// The dialogues of JSON Lines files that can be used, and why the others can't.
#[derive(Debug, Default)]
pub struct Dataset {
    /// In the order of files and lines.
    pub examples: Vec<Example>,
    /// Lines that were left out.
    pub faults: Vec<Fault>,
}

/// A line that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}, line {line}")]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Why.
    #[source]
    pub error: LineError,
}

/// Why a dataset can't be used at all.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file can't be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// There is no dialogue in it.
    #[error("no dialogue of {0} can be used; `shutterbug data check` says why")]
    Empty(String),
}

impl Dataset {
    /// Reads one or several JSON Lines files. Photos are not looked at. An id that was there before
    /// is a fault, because photos and results are named by it.
    ///
    /// # Errors
    /// If a file can't be read, or nothing in them can be used.
    pub fn read(files: &[impl AsRef<Path>]) -> Result<Self, DatasetError> {
        let mut dataset = Self::default();
        let mut ids = HashSet::new();
        for path in files.iter().map(AsRef::as_ref) {
            let failed = |source| DatasetError::Io { path: path.to_owned(), source };
            let folder = path.parent().unwrap_or(Path::new(""));
            let reader = BufReader::new(File::open(path).map_err(failed)?);
            for (index, line) in reader.split(b'\n').enumerate() {
                let line = line.map_err(failed)?;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let example = std::str::from_utf8(&line)
                    .map_err(LineError::Utf8)
                    .and_then(|line| read_example(line, folder))
                    .and_then(|example| {
                        let is_new = ids.insert(example.id.clone());
                        if is_new { Ok(example) } else { Err(LineError::Repeated(example.id)) }
                    });
                match example {
                    Ok(example) => dataset.examples.push(example),
                    Err(error) => {
                        let path = path.to_owned();
                        dataset.faults.push(Fault { path, line: index + 1, error });
                    }
                }
            }
        }
        if dataset.examples.is_empty() {
            let names = files.iter().map(|file| file.as_ref().display().to_string());
            return Err(DatasetError::Empty(names.collect::<Vec<_>>().join(", ")));
        }
        Ok(dataset)
    }
}

/// Writes examples to a JSON Lines file, and pictures that are in memory to `photos/` beside it. The
/// file appears when it is finished, and never half.
#[derive(Debug)]
pub struct ExampleWriter {
    path: PathBuf,
    folder: PathBuf,
    lines: BufWriter<tempfile::NamedTempFile>,
}

impl ExampleWriter {
    /// Begins the file, and makes its folder if need be.
    ///
    /// # Errors
    /// If the file or a folder can't be made.
    pub fn create(path: &Path) -> Result<Self, DatasetError> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let here = if folder == Path::new("") { Path::new(".") } else { &folder };
        let failed = |source| DatasetError::Io { path: path.to_owned(), source };
        fs::create_dir_all(here).map_err(failed)?;
        let part = tempfile::Builder::new()
            .prefix(".shutterbug-data-")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(here)
            .map_err(failed)?;
        Ok(Self { path: path.to_owned(), folder, lines: BufWriter::new(part) })
    }

    /// Writes a picture of an example to `photos/ID-NUMBER.png` beside the file.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write_photo(
        &self,
        id: &str,
        number: usize,
        pixels: &Pixels,
    ) -> Result<PathBuf, DatasetError> {
        let path = self.folder.join("photos").join(format!("{id}-{number}.png"));
        fs::create_dir_all(self.folder.join("photos"))
            .and_then(|()| fs::write(&path, imaging::encode_png(pixels)))
            .map_err(|source| DatasetError::Io { path: path.clone(), source })?;
        Ok(path)
    }

    /// Adds an example.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn write(&mut self, mut example: Example) -> Result<(), DatasetError> {
        let id = example.id.clone();
        for (number, photo) in example.photos_mut().enumerate() {
            if let Picture::Decoded(pixels) = &photo.picture {
                photo.picture = Picture::File(self.write_photo(&id, number, pixels)?);
            }
        }
        let failed = |source| DatasetError::Io { path: self.path.clone(), source };
        let line = example_line(&example, &self.folder).map_err(io::Error::from).map_err(failed)?;
        writeln!(self.lines, "{line}").map_err(failed)
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// If it can't be written whole.
    pub fn finish(self) -> Result<(), DatasetError> {
        let Self { path, lines, .. } = self;
        let failed = |source| DatasetError::Io { path: path.clone(), source };
        let part = lines.into_inner().map_err(|error| failed(error.into_error()))?;
        part.as_file().sync_all().map_err(failed)?;
        part.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::example::{ExampleElement, ExamplePhoto, load_photo};
    use crate::data::pocket::{PocketWorld, Split};
    use crate::dialogue::Speaker;

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/train.jsonl");
        let elsewhere = folder.path().join("elsewhere.png");
        let mut example = Example::new("e");
        example.persona = Some("The photo has your brother Darwin.".to_owned());
        let pixels = Pixels { width: 2, height: 1, rgb: vec![9, 8, 7, 6, 5, 4] };
        let pictures = [
            Picture::Decoded(Arc::new(pixels.clone())),
            Picture::File(elsewhere.clone()),
            Picture::Drawn(folder.path().join("new/photos/d.png")),
            Picture::Missing,
        ];
        for picture in pictures {
            let mut photo = ExamplePhoto::new(picture, Some("a cat".to_owned()));
            photo.photo_id = Some("7".to_owned());
            example.push(Speaker::A, [ExampleElement::Photo(photo)]);
        }
        example.push(Speaker::B, [ExampleElement::Utterance("é \u{1F600}".to_owned())]);
        let made = PocketWorld { seed: 1 }.dialogue(Split::Train, 0);

        let mut writer = ExampleWriter::create(&file).unwrap();
        writer.write(example.clone()).unwrap();
        writer.write(made.clone()).unwrap();
        assert!(!file.exists());
        writer.finish().unwrap();
        let unfinished = ExampleWriter::create(&file).unwrap();
        drop(unfinished);
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 2);

        let read = Dataset::read(&[&file]).unwrap();
        assert!(read.faults.is_empty());
        let written = folder.path().join("new/photos/e-0.png");
        example.photos_mut().next().unwrap().picture = Picture::File(written.clone());
        assert_eq!(read.examples[0], example);
        assert_eq!(load_photo(&written).unwrap(), pixels);
        assert_eq!(read.examples[1].truth, made.truth);
        let dialogue = |example: &Example| example.dialogue(load_photo).unwrap();
        assert_eq!(dialogue(&read.examples[1]), dialogue(&made));
    }

    #[test]
    fn broken_lines_are_named_and_the_rest_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.jsonl");
        let good = |id: &str| {
            format!(r#"{{"id":"{id}","turns":[{{"speaker":"B","elements":[{{"text":"hi"}}]}}]}}"#)
        };
        let mut text = [good("a"), "{".to_owned(), String::new(), good("a"), good("b")].join("\n");
        text += "\n{\"id\":\"c\",\"turns\":[]}\n";
        let mut bytes = text.into_bytes();
        bytes.extend(b"\xff\xfe\n");
        fs::write(&file, bytes).unwrap();
        let dataset = Dataset::read(&[&file]).unwrap();
        let ids: Vec<&str> = dataset.examples.iter().map(|example| &*example.id).collect();
        assert_eq!(ids, ["a", "b"]);
        let faults: Vec<(usize, String)> =
            dataset.faults.iter().map(|fault| (fault.line, fault.error.to_string())).collect();
        let expected = [
            (2, "not a dialogue"),
            (4, "the id \"a\" was there before"),
            (6, "there is no turn"),
            (7, "not UTF-8"),
        ];
        assert_eq!(faults, expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn a_dataset_without_dialogues_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.jsonl");
        fs::write(&file, "\n{\n").unwrap();
        let error = Dataset::read(&[&file]).unwrap_err().to_string();
        assert!(error.contains("d.jsonl") && error.contains("data check"), "{error}");
    }
}
