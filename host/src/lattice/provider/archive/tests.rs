//! Archives are made here as `wash par create` makes them: claims first, then the members. One was made by the real `wash`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt;

use flate2::Compression;
use flate2::write::GzEncoder;
use nkeys::KeyPair;
use serde_json::json;

use super::super::claims::tests::token;
use super::*;

fn hash(bytes: &[u8]) -> String {
    format!("{:X}", Sha256::digest(bytes))
}

/// An archive of members whose claims are about other members, if wanted.
fn archive(members: &[(&str, &[u8])], signed: &[(&str, &[u8])]) -> Vec<u8> {
    let signer = KeyPair::new_account();
    let hashes: serde_json::Map<_, _> =
        signed.iter().map(|(name, bytes)| ((*name).to_owned(), json!(hash(bytes)))).collect();
    let body = json!({"wascap": {"name": "Some", "vendor": "tests", "target_hashes": hashes}});
    let claims = token(&signer, &signer.public_key(), body);
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len().try_into().unwrap());
        header.set_cksum();
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    add("claims.jwt", claims.as_bytes());
    for (name, bytes) in members {
        add(name, bytes);
    }
    builder.into_inner().unwrap()
}

fn opened(bytes: &[u8]) -> (tempfile::TempDir, Result<Program, ArchiveError>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("provider.par");
    std::fs::write(&file, bytes).unwrap();
    let program = open(&file, &folder.path().join("programs"));
    (folder, program)
}

fn here() -> String {
    format!("{}.bin", target())
}

/// Goal: an archive, gzipped or not, and a bare program give the very bytes, executable, named by their digest.
#[test]
fn programs_are_unpacked() {
    let (name, program) = (here(), b"\x7fELF and so on".repeat(40_000));
    let members: [(&str, &[u8]); 3] = [("world.wasm", b"wit"), ("mips-beos.bin", b"other"), (&name, &program)];
    let target = target();
    let plain = archive(&members, &[("world.wasm", b"wit"), ("mips-beos", b"other"), (&target, &program)]);
    let mut gzipped = GzEncoder::new(Vec::new(), Compression::fast());
    gzipped.write_all(&plain).unwrap();
    for (bytes, has_claims) in [(plain, true), (gzipped.finish().unwrap(), true), (program.clone(), false)] {
        let (folder, found) = opened(&bytes);
        let found = found.unwrap();
        assert_eq!(std::fs::read(&found.path).unwrap(), program);
        assert_eq!(found.digest, format!("sha256:{}", hash(&program).to_lowercase()));
        assert_eq!(std::fs::metadata(&found.path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(found.claims.is_some_and(|claims| claims.vendor == "tests"), has_claims);
        assert_eq!(std::fs::read_dir(folder.path().join("programs")).unwrap().count(), 1);
    }
}

/// Goal: what `wash` makes is understood. Method: an archive that wash 0.43.0 made (`par create --compress`, `par insert`).
#[test]
fn an_archive_made_by_wash_opens() {
    let (_folder, found) = opened(include_bytes!("../../../../../tests/golden/providers/small.par.gz"));
    let found = found.unwrap();
    let text = std::fs::read_to_string(&found.path).unwrap();
    assert!(text.starts_with("#!/bin/sh\necho "), "{text}");
    let claims = found.claims.unwrap();
    assert_eq!((claims.name.as_deref(), claims.vendor.as_str()), (Some("Small"), "tests"));
    assert_eq!((claims.version.as_deref(), claims.revision), (Some("1.2.3"), Some(4)));
}

/// Goal: nothing that was not signed is started, and nothing stays behind. Method: one broken archive of each kind.
#[test]
fn broken_archives_are_refused() {
    let (name, target) = (here(), target());
    let program: (&str, &[u8]) = (&name, b"program");
    let signed: (&str, &[u8]) = (&target, b"program");
    let mut truncated = archive(&[program], &[signed]);
    truncated.truncate(2200);
    let unsigned = |member| archive(&[program, member], &[signed]);
    for (bytes, says) in [
        (archive(&[program], &[(&target, b"another")]), "not what its claims were signed for"),
        (archive(&[program], &[]), "not what its claims were signed for"),
        (unsigned(("mips-beos.bin", b"new")), "`mips-beos`"),
        (unsigned(("world.wasm", b"new")), "`world.wasm`"),
        (unsigned(program), "twice"),
        (unsigned(("claims.jwt", b"new")), "twice"),
        (archive(&[("mips-beos.bin", b"x")], &[("mips-beos", b"x")]), "it has mips-beos"),
        (truncated, "unusable"),
        (b"\x1f\x8bgarbage".to_vec(), "unusable"),
        (b"#!/bin/sh\nexit".to_vec(), "unusable"),
        (Vec::new(), "neither"),
        (vec![0; 2048], "neither"),
    ] {
        let (folder, found) = opened(&bytes);
        let error = found.unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
        assert_eq!(std::fs::read_dir(folder.path().join("programs")).unwrap().count(), 0, "{says}");
    }
}

/// Goal: claims by another key than the issuer's do not count, and no claims at all neither.
#[test]
fn claims_are_needed_and_checked() {
    let (name, target) = (here(), target());
    let body = json!({"wascap": {"vendor": "tests", "target_hashes": {target.as_str(): hash(b"program")}}});
    let forged = token(&KeyPair::new_account(), &KeyPair::new_account().public_key(), body);
    for (claims, says) in [(Some(forged), "signature"), (None, "no claims")] {
        let mut builder = tar::Builder::new(Vec::new());
        let members = claims.iter().map(|claims| ("claims.jwt", claims.as_bytes()));
        for (member, bytes) in members.chain([(name.as_str(), b"program".as_slice())]) {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len().try_into().unwrap());
            header.set_cksum();
            builder.append_data(&mut header, member, bytes).unwrap();
        }
        let (_folder, found) = opened(&builder.into_inner().unwrap());
        let error = found.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Goal: programs are never started from a folder that others can write.
#[test]
fn the_folder_must_be_private() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let file = folder.path().join("program");
    std::fs::write(&file, b"\x7fELF").unwrap();
    assert!(matches!(open(&file, folder.path()).unwrap_err(), ArchiveError::Folder(_)));
}
