//! Reads weights by their Hugging Face parameter names out of memory-mapped safetensors files.
//!
//! On the CPU a tensor whose stored format is the running one is a view of the file: nothing is
//! copied. Everything else is converted tensor by tensor, and the file's pages are given back
//! after each, so that loading never holds a model twice.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{Advice, MmapMut, MmapOptions, UncheckedAdvice};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use tch::{Device, Kind, Tensor};

use super::device::Compute;
use super::initial::Initial;
use super::load_error::LoadError;
use super::shim;

struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<i64>,
    /// Byte range within the file.
    begin: usize,
    end: usize,
}

/// The safetensors files of one model part, mapped into memory.
pub struct Checkpoint {
    /// The file, or the folder of the shards: what errors name when no single file is to blame.
    path: PathBuf,
    /// The file that lists the shards, if there are any.
    index: Option<PathBuf>,
    files: Vec<(PathBuf, Arc<MmapMut>)>,
    entries: HashMap<String, Entry>,
    metadata: HashMap<String, String>,
}

impl Checkpoint {
    /// Opens `dir/stem.safetensors`, or the shards that `dir/stem.safetensors.index.json` lists.
    pub fn open(dir: &Path, stem: &str) -> Result<Self, LoadError> {
        let single = dir.join(format!("{stem}.safetensors"));
        if single.is_file() {
            return Self::file(&single);
        }
        let index = dir.join(format!("{stem}.safetensors.index.json"));
        if !index.is_file() {
            return Err(LoadError::NoCheckpoint { dir: dir.to_owned(), stem: stem.to_owned() });
        }
        let text = std::fs::read(&index)
            .map_err(|source| LoadError::Io { path: index.clone(), source })?;
        let shards: ShardIndex = serde_json::from_slice(&text)
            .map_err(|source| LoadError::Json { path: index.clone(), source })?;
        let mut checkpoint = Self::empty(dir);
        let names: BTreeSet<&String> = shards.weight_map.values().collect();
        for name in names {
            if Path::new(name).file_name() != Some(name.as_ref()) {
                let reason = format!("weight_map names {name:?}, which is no plain file name");
                return Err(LoadError::Config { path: index, reason });
            }
            checkpoint.add(&dir.join(name))?;
        }
        checkpoint.index = Some(index);
        Ok(checkpoint)
    }

    /// Opens one file, whatever its name.
    pub fn file(path: &Path) -> Result<Self, LoadError> {
        let mut checkpoint = Self::empty(path);
        checkpoint.add(path)?;
        Ok(checkpoint)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            index: None,
            files: Vec::new(),
            entries: HashMap::new(),
            metadata: HashMap::new(),
        }
    }

    fn add(&mut self, path: &Path) -> Result<(), LoadError> {
        let io = |source| LoadError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            // Nothing can be mapped.
            return Err(LoadError::Truncated { path: path.to_owned(), expected: 8, found: 0 });
        }
        // SAFETY: a private copy-on-write mapping; writing to a tensor never reaches the file.
        // Somebody who truncates the file under a running model gets a SIGBUS, as with every map.
        let map = unsafe { MmapOptions::new().map_copy(&file) }.map_err(io)?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|source| broken(path, &map, source))?;
        let data = header + size_of::<u64>();
        for (name, info) in metadata.tensors() {
            let entry = Entry {
                file: self.files.len(),
                dtype: info.dtype,
                shape: info.shape.iter().map(|&n| n as i64).collect(),
                begin: data + info.data_offsets.0,
                end: data + info.data_offsets.1,
            };
            self.entries.insert(name, entry);
        }
        self.metadata.extend(metadata.metadata().clone().unwrap_or_default());
        self.files.push((path.to_owned(), Arc::new(map)));
        Ok(())
    }

    /// Every file of it: the weights and, where they come in shards, their index.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.index.iter().chain(self.files.iter().map(|(path, _)| path)).map(PathBuf::as_path)
    }

    /// Names and shapes of everything stored, by name.
    pub fn shapes(&self) -> BTreeMap<String, Vec<i64>> {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.shape.clone())).collect()
    }

    /// A value from the header's free-form metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Bytes of all tensors together, as stored.
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| (entry.end - entry.begin) as u64).sum()
    }

    /// Number of elements of all tensors together.
    pub fn elements(&self) -> u64 {
        self.entries.values().map(|entry| entry.shape.iter().product::<i64>() as u64).sum()
    }

    /// What these weights are, told from any others: BLAKE3 over every tensor's name, format and
    /// shape and both ends of its data. Reads a few pages a tensor, so that checking a large model
    /// takes no time; a fine-tuned copy differs in nearly every tensor.
    pub fn fingerprint(&self) -> blake3::Hash {
        const END_BYTES: usize = 512;
        let mut hasher = blake3::Hasher::new();
        let sorted: BTreeMap<&String, &Entry> = self.entries.iter().collect();
        for (name, entry) in sorted {
            let data = &self.files[entry.file].1[entry.begin..entry.end];
            let tail = data.len().saturating_sub(END_BYTES);
            hasher.update(format!("{name} {:?} {:?}\n", entry.dtype, entry.shape).as_bytes());
            hasher.update(&data[..data.len().min(END_BYTES)]);
            hasher.update(&data[tail..]);
        }
        hasher.finalize()
    }

    /// Where the tensor `name` lies and in which format, if its shape is `expected`.
    fn entry(&self, name: &str, expected: &[i64]) -> Result<(&Entry, Kind), LoadError> {
        let entry = self.entries.get(name).ok_or_else(|| LoadError::Missing {
            path: self.path.clone(),
            tensor: name.to_owned(),
            expected: expected.to_vec(),
        })?;
        let path = || self.files[entry.file].0.clone();
        if entry.shape != expected {
            return Err(LoadError::Shape {
                path: path(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
                found: entry.shape.clone(),
            });
        }
        let kind = match entry.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            found => {
                return Err(LoadError::Format { path: path(), tensor: name.to_owned(), found });
            }
        };
        Ok((entry, kind))
    }

    fn tensor(&self, name: &str, expected: &[i64], compute: Compute) -> Result<Tensor, LoadError> {
        let (entry, kind) = self.entry(name, expected)?;
        let map = &self.files[entry.file].1;
        let bytes = &map[entry.begin..entry.end];
        if bytes.as_ptr().align_offset(kind.elt_size_in_bytes()) != 0 {
            // Foreign writers may leave the header unpadded; such tensors are copied.
            let copy = Tensor::from_data_size(bytes, expected, kind);
            return Ok(copy.to_device(compute.device).to_kind(compute.kind));
        }
        // SAFETY: the range lies inside the map, which the Arc keeps alive, and is aligned.
        let view = unsafe { shim::tensor_over(bytes.as_ptr(), expected, kind, map) };
        if compute.device == Device::Cpu && compute.kind == kind {
            // Read now, in one go, and not page by page under the first reply. Where the system
            // does not know how, the first reply does it.
            let length = entry.end - entry.begin;
            let _ = map.advise_range(Advice::PopulateRead, entry.begin, length);
            return Ok(view);
        }
        let tensor = view.to_device(compute.device).to_kind(compute.kind);
        drop(view);
        // SAFETY: the pages are clean (nothing wrote to this range), so that dropping them only
        // means reading the file again, should anyone ask twice.
        let _ = unsafe {
            map.unchecked_advise_range(
                UncheckedAdvice::DontNeed,
                entry.begin,
                entry.end - entry.begin,
            )
        };
        Ok(tensor)
    }
}

#[derive(serde::Deserialize)]
struct ShardIndex {
    weight_map: HashMap<String, String>,
}

/// What is wrong with a file that does not read as safetensors: it begins with its header's length
/// in 8 bytes and the header, which says where the last tensor ends.
fn broken(path: &Path, bytes: &[u8], source: SafeTensorError) -> LoadError {
    let path = path.to_owned();
    let header_bytes = bytes.first_chunk().map(|&length| u64::from_le_bytes(length));
    let expected = match header_bytes {
        None => 8,
        Some(length) => {
            let begin = 8u64.saturating_add(length);
            let header = usize::try_from(begin).ok().and_then(|begin| bytes.get(8..begin));
            begin.saturating_add(header.and_then(data_bytes).unwrap_or(0))
        }
    };
    let found = bytes.len() as u64;
    // A header beyond any size is no header: the file is another kind.
    if found < expected && header_bytes.is_none_or(|length| length <= HEADER_BYTES_MAX) {
        LoadError::Truncated { path, expected, found }
    } else {
        LoadError::Broken { path, source }
    }
}

/// The longest header that the format allows.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// Bytes of all tensors together, as a header tells them.
fn data_bytes(header: &[u8]) -> Option<u64> {
    let entries: HashMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    entries.values().filter_map(|entry| entry["data_offsets"][1].as_u64()).max()
}

enum Source {
    Checkpoint(Checkpoint),
    /// A checkpoint of which only the headers are read: every tensor occupies no memory, and what
    /// does not agree is noted instead of failing.
    Inspected(Checkpoint, Mutex<Vec<LoadError>>),
    /// Tensors of the right shape that occupy no memory: for name tables.
    Shapes,
    /// Normal draws of standard deviation 0.02, made on the device: for benchmarks.
    Random,
    /// What each weight is before any training, drawn from this seed.
    Fresh(u64),
}

impl Source {
    fn tensor(
        &self,
        name: &str,
        expected: &[i64],
        compute: Compute,
        initial: impl FnOnce(u64) -> Tensor,
    ) -> Result<Tensor, LoadError> {
        let options = (compute.kind, compute.device);
        Ok(match self {
            Self::Checkpoint(checkpoint) => checkpoint.tensor(name, expected, compute)?,
            Self::Inspected(checkpoint, problems) => {
                if let Err(problem) = checkpoint.entry(name, expected) {
                    lock(problems).push(problem);
                }
                weightless(expected, compute)
            }
            Self::Shapes => weightless(expected, compute),
            Self::Random => Tensor::randn(expected, options) * 0.02,
            Self::Fresh(seed) => initial(*seed).to_device(compute.device).to_kind(compute.kind),
        })
    }
}

/// Which weights are to be trained.
enum Training {
    None,
    /// Those whose full names begin with one of these.
    Below(Vec<String>),
}

/// Tensors by their full Hugging Face names.
pub type Parameters = BTreeMap<String, Tensor>;

/// What was handed out.
#[derive(Default)]
struct Account {
    asked: BTreeMap<String, Vec<i64>>,
    /// In training alone: what is trained, and what stays as it is.
    trained: Parameters,
    kept: Parameters,
}

struct Shared {
    source: Source,
    compute: Compute,
    training: Training,
    account: Mutex<Account>,
}

/// A reader of weights below one name prefix.
///
/// `weights.at("layers").at(3).tensor("mlp.up_proj.weight", &[n, d])` reads
/// `layers.3.mlp.up_proj.weight`. The reader keeps account of what was asked for; `finish` fails
/// if the checkpoint holds more.
#[derive(Clone)]
pub struct Weights {
    shared: Arc<Shared>,
    prefix: String,
}

impl Weights {
    fn over(source: Source, compute: Compute, training: Training) -> Self {
        let shared = Shared { source, compute, training, account: Mutex::default() };
        Self { shared: Arc::new(shared), prefix: String::new() }
    }

    /// Reads from `checkpoint`, converting to `compute`'s device and format.
    pub fn new(checkpoint: Checkpoint, compute: Compute) -> Self {
        Self::over(Source::Checkpoint(checkpoint), compute, Training::None)
    }

    /// Reads from `checkpoint` for full training: every parameter whose full name begins with one
    /// of `below` (`""` is all) is a leaf that requires gradients, in float32 storage of its own
    /// whatever the running format; layers cast where they use it. All else is as with `new`.
    pub fn trainable(checkpoint: Checkpoint, compute: Compute, below: &[&str]) -> Self {
        let below = below.iter().map(|&prefix| prefix.to_owned()).collect();
        Self::over(Source::Checkpoint(checkpoint), compute, Training::Below(below))
    }

    /// Makes a model from nothing for full training: every parameter is a float32 leaf that
    /// requires gradients, with the usual initial values of its kind of layer, drawn from `seed`
    /// and its name.
    pub fn fresh(seed: u64, compute: Compute) -> Self {
        Self::over(Source::Fresh(seed), compute, Training::Below(vec![String::new()]))
    }

    /// Holds `checkpoint` against what a model asks for, without reading a tensor: loading a model
    /// from it never fails on a tensor, and `problems` tells afterwards what did not agree.
    pub fn inspecting(checkpoint: Checkpoint) -> Self {
        let source = Source::Inspected(checkpoint, Mutex::default());
        Self::over(source, Compute::CPU, Training::None)
    }

    /// Loads a model from the headers of the weights `dir/stem…` alone: the number of tensors, or
    /// all that is wrong with them. `ignored` is as in `finish`.
    pub fn inspect<T>(
        dir: &Path,
        stem: &str,
        ignored: &[&str],
        load: impl FnOnce(&Self) -> Result<T, LoadError>,
    ) -> Result<usize, Vec<LoadError>> {
        let weights = Self::inspecting(Checkpoint::open(dir, stem).map_err(|error| vec![error])?);
        load(&weights).map_err(|error| vec![error])?;
        let problems = weights.problems(ignored);
        if problems.is_empty() { Ok(weights.asked().len()) } else { Err(problems) }
    }

    /// Answers every question with a tensor of that shape that occupies no memory: loading a
    /// model from it records the model's table of names.
    pub fn shapes_only() -> Self {
        Self::over(Source::Shapes, Compute::CPU, Training::None)
    }

    /// Answers with small normal draws, for benchmarks at sizes that nobody has on disk.
    pub fn random(compute: Compute) -> Self {
        Self::over(Source::Random, compute, Training::None)
    }

    /// The reader one step further down.
    #[must_use]
    pub fn at(&self, name: impl Display) -> Self {
        Self { shared: Arc::clone(&self.shared), prefix: self.full_name(&name.to_string()) }
    }

    /// Where tensors go and in which format.
    pub fn compute(&self) -> Compute {
        self.shared.compute
    }

    /// The full parameter name of `name` here.
    pub fn full_name(&self, name: &str) -> String {
        match (self.prefix.as_str(), name) {
            ("", name) => name.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, name) => format!("{prefix}.{name}"),
        }
    }

    /// The parameter `name` below this prefix, which must have shape `expected`; on the running
    /// device and in the running format, or float32 where it is trained. From nothing it begins as
    /// `initial`. Whoever asks twice gets the same tensor, where it is trained.
    pub fn parameter(
        &self,
        name: &str,
        expected: &[i64],
        initial: Initial,
    ) -> Result<Tensor, LoadError> {
        let name = self.full_name(name);
        let Shared { source, compute, training, .. } = &*self.shared;
        let draw = |seed| initial.draw(expected, seed, &name);
        let trains = match training {
            Training::None => false,
            Training::Below(prefixes) => prefixes.iter().any(|prefix| name.starts_with(prefix)),
        };
        if !trains {
            let tensor = source.tensor(&name, expected, *compute, draw)?;
            self.keep_account(name, expected, &tensor);
            return Ok(tensor);
        }
        let mut account = self.account();
        if let Some(tensor) = account.trained.get(&name) {
            return Ok(tensor.shallow_clone());
        }
        let single = Compute { kind: Kind::Float, ..*compute };
        // A copy: the file's own pages are neither aligned nor ours to write to.
        let leaf = source.tensor(&name, expected, single, draw)?.copy().set_requires_grad(true);
        account.asked.insert(name.clone(), expected.to_vec());
        account.trained.insert(name, leaf.shallow_clone());
        Ok(leaf)
    }

    /// The tensor `name` below this prefix, which must have shape `expected` and is never trained;
    /// in the running device and format. From nothing it is what `make` gives, in float32 on the
    /// CPU.
    pub fn buffer(
        &self,
        name: &str,
        expected: &[i64],
        make: impl FnOnce() -> Tensor,
    ) -> Result<Tensor, LoadError> {
        let name = self.full_name(name);
        let tensor = self.shared.source.tensor(&name, expected, self.shared.compute, |_| make())?;
        self.keep_account(name, expected, &tensor);
        Ok(tensor)
    }

    /// As `buffer`, of zeros from nothing: for files that hold other things than a model.
    pub fn tensor(&self, name: &str, expected: &[i64]) -> Result<Tensor, LoadError> {
        self.buffer(name, expected, || Tensor::zeros(expected, tch::kind::FLOAT_CPU))
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        lock(&self.shared.account)
    }

    fn keep_account(&self, name: String, expected: &[i64], tensor: &Tensor) {
        let mut account = self.account();
        account.asked.insert(name.clone(), expected.to_vec());
        if !matches!(self.shared.training, Training::None) {
            account.kept.insert(name, tensor.shallow_clone());
        }
    }

    /// The parameters that are trained, of those asked for so far: the very tensors that the model
    /// computes with.
    pub fn parameters(&self) -> Parameters {
        shared(&self.account().trained).collect()
    }

    /// All tensors asked for so far, trained or not: what a file of the model holds. Empty unless
    /// some are trained.
    pub fn tensors(&self) -> Parameters {
        let account = self.account();
        shared(&account.trained).chain(shared(&account.kept)).collect()
    }

    /// Whether the checkpoint has `name` below this prefix. Without a checkpoint: yes.
    pub fn has(&self, name: &str) -> bool {
        match &self.shared.source {
            Source::Checkpoint(checkpoint) | Source::Inspected(checkpoint, _) => {
                checkpoint.entries.contains_key(&self.full_name(name))
            }
            Source::Shapes | Source::Random | Source::Fresh(_) => true,
        }
    }

    /// Every name asked for so far, with its shape.
    pub fn asked(&self) -> BTreeMap<String, Vec<i64>> {
        self.account().asked.clone()
    }

    /// Fails if the checkpoint holds a tensor that nobody asked for and whose name ends with none
    /// of `ignored` (buffers that old files carry, such as `position_ids`).
    pub fn finish(&self, ignored: &[&str]) -> Result<(), LoadError> {
        let mut unused = self.unused(ignored).into_iter();
        match unused.next() {
            None => Ok(()),
            Some((path, first, shape)) => {
                Err(LoadError::Unused { path, first, shape, others: unused.len() })
            }
        }
    }

    /// Everything in which an inspected checkpoint does not agree with what was asked for: tensors
    /// that are missing, of another shape or format, and (as in `finish`) unused.
    pub fn problems(&self, ignored: &[&str]) -> Vec<LoadError> {
        let mut problems = match &self.shared.source {
            Source::Inspected(_, problems) => std::mem::take(&mut *lock(problems)),
            _ => Vec::new(),
        };
        problems.extend(
            self.unused(ignored).into_iter().map(|(path, first, shape)| LoadError::Unused {
                path,
                first,
                shape,
                others: 0,
            }),
        );
        problems
    }

    /// File, name and shape of what nobody asked for, by name.
    fn unused(&self, ignored: &[&str]) -> Vec<(PathBuf, String, Vec<i64>)> {
        let (Source::Checkpoint(checkpoint) | Source::Inspected(checkpoint, _)) =
            &self.shared.source
        else {
            return Vec::new();
        };
        let asked = self.asked();
        let mut unused: Vec<_> = checkpoint
            .entries
            .iter()
            .filter(|(name, _)| !asked.contains_key(*name))
            .filter(|(name, _)| !ignored.iter().any(|suffix| name.ends_with(suffix)))
            .map(|(name, entry)| {
                (checkpoint.files[entry.file].0.clone(), name.clone(), entry.shape.clone())
            })
            .collect();
        unused.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
        unused
    }
}

fn shared(tensors: &Parameters) -> impl Iterator<Item = (String, Tensor)> {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
}

/// Zeros of a shape that share one element.
fn weightless(shape: &[i64], compute: Compute) -> Tensor {
    Tensor::zeros([1], (compute.kind, compute.device)).expand(shape, false)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
