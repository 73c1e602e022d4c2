//! From a file to a program that can be started: a provider archive (tar, perhaps gzipped, with claims) or an ELF program as it is.
//! Invariant: what is started are the bytes that were checked; they lie in a folder that nobody else can write, named by their digest.
//!
//! An archive's claims are signed by whoever made it. The signature proves that no member was changed since; it does not prove who made it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::claims::{Claims, ClaimsError, ProviderClaims};
use crate::limits;

const ELF: [u8; 4] = [0x7f, b'E', b'L', b'F'];
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Members of an archive that are no program; the part of a member's name before its last dot is what counts.
const CLAIMS: &str = "claims";
const WORLD: &str = "world";
/// Under this name the claims list the hash of the world.
const WORLD_HASH: &str = "world.wasm";

/// A program that was checked.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it lies.
    pub path: PathBuf,
    /// `sha256:<hex>` of its bytes.
    pub digest: String,
    /// What its archive says about it; a bare program says nothing.
    pub claims: Option<ProviderClaims>,
}

/// Why a file is no program that can be started here.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read, or its program cannot be written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither an archive nor a program.
    #[error("{} is neither a provider archive (.par, .par.gz) nor a program for this system", .0.display())]
    Unknown(PathBuf),
    /// It is not whole, or not made as an archive is.
    #[error("the provider archive is unusable: {0}")]
    Malformed(String),
    /// Larger than any provider may be.
    #[error("the provider has more than {limit} bytes unpacked")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// Its claims do not hold.
    #[error("the claims of the provider archive do not hold: {0}")]
    Claims(#[from] ClaimsError),
    /// A member is not what was signed.
    #[error("`{0}` in the provider archive is not what its claims were signed for")]
    Changed(String),
    /// It is for other machines.
    #[error("the provider archive has no program for {wanted}; it has {}", there.join(", "))]
    NoTarget {
        /// This machine.
        wanted: String,
        /// What it is for.
        there: Vec<String>,
    },
    /// Others could change what will be started.
    #[error("{} belongs to, or can be written by, another user: programs are not unpacked there", .0.display())]
    Folder(PathBuf),
}

/// Checks the file and puts its program into `folder`. Blocks.
///
/// # Errors
/// [`ArchiveError`]; nothing stays in the folder then.
pub fn open(file: &Path, folder: &Path) -> Result<Program, ArchiveError> {
    prepare(folder)?;
    let io = |action| move |source| ArchiveError::Io { action, path: file.to_owned(), source };
    let mut reader = File::open(file).map_err(io("opening"))?;
    let mut magic = [0; 4];
    let length = read_up_to(&mut reader, &mut magic).map_err(io("reading"))?;
    reader.rewind().map_err(io("reading"))?;
    let magic = magic.get(..length).unwrap_or_default();
    let reader = BufReader::with_capacity(128 << 10, reader);
    if magic == ELF {
        let mut reader = reader;
        let member = Member::take(&mut reader, Some(folder), limits::MAX_PROVIDER_BYTES)?;
        return member.keep(folder, None);
    }
    if magic.starts_with(&GZIP) {
        return unpack(GzDecoder::new(reader), folder);
    }
    // A tar archive begins with the name of its first member; the format's own mark lies further behind.
    match magic.first() {
        Some(first) if first.is_ascii_graphic() => unpack(reader, folder),
        _ => Err(ArchiveError::Unknown(file.to_owned())),
    }
}

/// This machine, in the words of provider archives.
fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

fn unpack(reader: impl Read, folder: &Path) -> Result<Program, ArchiveError> {
    let malformed = |error: std::io::Error| ArchiveError::Malformed(error.to_string());
    let mut archive = tar::Archive::new(reader);
    let (mut claims, mut program) = (None, None);
    let mut hashes: Vec<(String, String)> = Vec::new();
    let mut names = HashSet::new();
    let mut left = limits::MAX_PROVIDER_BYTES;
    for entry in archive.entries().map_err(malformed)? {
        let mut entry = entry.map_err(malformed)?;
        let name = stem(&entry)?;
        if !names.insert(name.clone()) || names.len() > limits::MAX_ARCHIVE_MEMBERS {
            return Err(ArchiveError::Malformed(format!("`{name}` is there twice, or there are too many members")));
        }
        if name == CLAIMS {
            claims = Some(Claims::parse(&text(&mut entry)?)?);
            continue;
        }
        let wanted = name == target();
        let member = Member::take(&mut entry, wanted.then_some(folder), left)?;
        left = left.saturating_sub(member.size);
        let listed = if name == WORLD { WORLD_HASH.to_owned() } else { name };
        hashes.push((listed, member.hash.clone()));
        if wanted {
            program = Some(member);
        }
    }
    let claims = claims.ok_or_else(|| ArchiveError::Malformed("it has no claims".to_owned()))?;
    for (name, hash) in &hashes {
        // The claims have upper-case hexadecimal digits.
        if !claims.target_hashes.get(name).is_some_and(|listed| listed.eq_ignore_ascii_case(hash)) {
            return Err(ArchiveError::Changed(name.clone()));
        }
    }
    let there = || hashes.iter().map(|(name, _)| name.clone()).filter(|name| name != WORLD_HASH).collect();
    let program = program.ok_or_else(|| ArchiveError::NoTarget { wanted: target(), there: there() })?;
    program.keep(folder, Some(claims.provider))
}

fn stem(entry: &tar::Entry<'_, impl Read>) -> Result<String, ArchiveError> {
    let malformed = |what: &str| ArchiveError::Malformed(what.to_owned());
    if !entry.header().entry_type().is_file() {
        return Err(malformed("a member is no plain file"));
    }
    let path = entry.path().map_err(|error| ArchiveError::Malformed(error.to_string()))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.map(str::to_owned).ok_or_else(|| malformed("a member has no name"))
}

fn text(entry: &mut impl Read) -> Result<String, ArchiveError> {
    let mut bytes = Vec::new();
    let read = entry.take(limits::MAX_CLAIMS_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| ArchiveError::Malformed(error.to_string()))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limits::MAX_CLAIMS_BYTES) {
        return Err(ArchiveError::Malformed("its claims are too long".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| ArchiveError::Malformed("its claims are no text".to_owned()))
}

/// A member that was read to its end. Its file, if it has one, goes away with it unless it is kept.
struct Member {
    hash: String,
    size: u64,
    file: Option<PathBuf>,
}

impl Member {
    /// Reads all of it, into a file of the folder if there is one, and takes its digest on the way.
    fn take(reader: &mut impl Read, folder: Option<&Path>, limit: u64) -> Result<Self, ArchiveError> {
        let path = folder.map(|folder| folder.join(format!("{}.part", uuid::Uuid::new_v4())));
        let mut member = Self { hash: String::new(), size: 0, file: None };
        let mut file = None;
        if let Some(path) = path {
            let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path);
            file = Some(made.map_err(|source| ArchiveError::Io { action: "writing", path: path.clone(), source })?);
            member.file = Some(path);
        }
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 128 << 10];
        loop {
            let length = read_up_to(reader, &mut buffer).map_err(|error| ArchiveError::Malformed(error.to_string()))?;
            let Some(chunk) = buffer.get(..length).filter(|chunk| !chunk.is_empty()) else { break };
            member.size += u64::try_from(length).unwrap_or(u64::MAX);
            if member.size > limit {
                return Err(ArchiveError::TooLarge { limit: limits::MAX_PROVIDER_BYTES });
            }
            hasher.update(chunk);
            if let (Some(file), Some(path)) = (&mut file, &member.file) {
                let written = file.write_all(chunk);
                written.map_err(|source| ArchiveError::Io { action: "writing", path: path.clone(), source })?;
            }
        }
        member.hash = format!("{:x}", hasher.finalize());
        Ok(member)
    }

    /// Gives the file its name. If the same bytes lie there already they are replaced by themselves, so a spoilt file does not last.
    fn keep(mut self, folder: &Path, claims: Option<ProviderClaims>) -> Result<Program, ArchiveError> {
        let path = folder.join(&self.hash);
        if let Some(part) = self.file.take()
            && let Err(source) = std::fs::rename(&part, &path)
        {
            self.file = Some(part);
            return Err(ArchiveError::Io { action: "naming", path, source });
        }
        Ok(Program { path, digest: format!("sha256:{}", self.hash), claims })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Whether it works or not: it is a temporary file in a folder of our own.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Makes the folder private to this user.
fn prepare(folder: &Path) -> Result<(), ArchiveError> {
    let io = |source| ArchiveError::Io { action: "making", path: folder.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    let metadata = std::fs::metadata(folder).map_err(io)?;
    let own = std::fs::metadata("/proc/self").map_err(io)?;
    if metadata.uid() != own.uid() || metadata.mode() & 0o022 != 0 {
        return Err(ArchiveError::Folder(folder.to_owned()));
    }
    Ok(())
}

/// As much as there is, up to the length of the buffer.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
