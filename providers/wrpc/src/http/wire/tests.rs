//! The forms on the wire, against bytes that were written by hand from the specification.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

/// Goal: a request has the form that hosts read. Method: every byte.
#[test]
fn a_request_is_written_byte_by_byte() {
    let built =
        Request::builder().method("POST").uri("/a?b=1").header("host", "shop").header("x", "1").header("x", "2");
    let written = request(&built.body(Bytes::from_static(b"hey")).unwrap());
    let expected: Vec<u8> = [
        b"\x03hey\x01\x00".as_slice(),
        b"\x02\x01\x06/a?b=1\x00\x01\x04shop",
        b"\x02\x04host\x01\x04shop\x01x\x02\x011\x012",
    ]
    .concat();
    assert_eq!(&written[..], &expected[..]);
    let other = Request::builder().method("PURGE").uri("https://shop/").body(Bytes::new()).unwrap();
    assert_eq!(&request(&other)[..], b"\x00\x01\x00\x09\x05PURGE\x01\x01/\x01\x01\x01\x04shop\x00");
}

/// Goal: an answer is read as it was meant, and not before it is there. Method: every cut; errors; what is none.
#[test]
fn an_answer_is_read_when_it_is_whole() {
    let whole = b"\x00\x00\x00\xc9\x01\x01\x08location\x01\x02/1";
    for end in 0..whole.len() {
        assert_eq!(head(&whole[..end]).unwrap_err(), WireError::Incomplete, "{end}");
    }
    let Head::Answer(answer) = head(whole).unwrap() else { panic!("an answer") };
    assert_eq!(
        (answer.status(), &answer.headers()["location"]),
        (StatusCode::CREATED, &HeaderValue::from_static("/1"))
    );
    assert!(answer.body().is_none());
    let Head::Answer(inline) = head(b"\x00\x02ok\x01\x00\xc8\x01\x00").unwrap() else { panic!("an answer") };
    assert_eq!(inline.body().as_deref(), Some(b"ok".as_slice()));
    assert!(matches!(head(&[1, 33]), Ok(Head::Error(33))));
    for wrong in [b"\x02".as_slice(), b"\x00\x00\x00\x09\x00", b"\x00\x00\x00\xc8\x01\x01\x01 \x01\x00", &[0xff; 12]] {
        assert!(matches!(head(wrong), Err(WireError::Invalid(_))), "{wrong:?}");
    }
}

/// Goal: a stream is put together wherever its messages are cut. Method: every cut of two chunks and the end, with something behind it.
#[test]
fn chunks_survive_any_cut() {
    let long = vec![b'x'; 200];
    let raw = [b"\x02ab\xc8\x01".as_slice(), &long, b"\x00", b"behind"].concat();
    for cut in 0..raw.len() {
        let mut chunks = Chunks::default();
        let mut found = chunks.take(Bytes::copy_from_slice(&raw[..cut])).unwrap();
        found.extend(chunks.take(Bytes::copy_from_slice(&raw[cut..])).unwrap());
        assert!(chunks.ended());
        assert_eq!(found.concat(), [b"ab".as_slice(), &long].concat(), "{cut}");
    }
    let mut open = Chunks::default();
    open.take(Bytes::from_static(b"\x02a")).unwrap();
    assert!(!open.ended());
    assert!(Chunks::default().take(Bytes::from_static(&[0xff; 12])).is_err());
}
