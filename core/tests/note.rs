//! Signed notes and checkpoints: the published examples, what is malformed, and everything both ways with another
//! implementation (`signed_note`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flagraft_core::{
    checkpoint::{Checkpoint, CheckpointError, Origin},
    identity::{ClusterId, History},
    merkle::empty_root,
    note::{
        KeyError, NOTE_BYTES_MAX, Note, NoteError, SIGNATURES_MAX, Signer, TrustedKeys, VerifierKey,
        node_key_name,
    },
};
use proptest::prelude::*;

/// The example of Go's `sumdb/note`: a key, its public key, a text and the whole note.
const SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\
    \n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn peter() -> Signer {
    let bytes = STANDARD.decode(SECRET).expect("base64");
    Signer::new("PeterNeumann", bytes[1..].try_into().expect("32 bytes")).expect("a name")
}

fn signer(n: u8) -> Signer {
    Signer::new(format!("key-{n}"), &[n; 32]).expect("a name")
}

fn trusted(keys: &[&Signer]) -> TrustedKeys {
    TrustedKeys::new(keys.iter().map(|key| key.verifier().clone()).collect()).expect("different keys")
}

fn names(keys: &[&VerifierKey]) -> Vec<String> {
    keys.iter().map(|key| key.name().to_owned()).collect()
}

fn signed(text: &str, by: &[&Signer]) -> Note {
    let mut note = Note::new(text).expect("a text");
    by.iter().for_each(|key| note.sign(key).expect("room"));
    note
}

#[test]
fn the_published_example() {
    let peter = peter();
    assert_eq!(peter.verifier().to_string(), PUBLIC);
    assert_eq!(PUBLIC.parse(), Ok(peter.verifier().clone()));
    let note = signed(TEXT, &[&peter]);
    assert_eq!(note.to_string(), NOTE, "Ed25519 signs a text in one way only");
    let read: Note = NOTE.parse().expect("a note");
    assert_eq!(read, note);
    assert_eq!(read.text(), TEXT);
    assert_eq!(names(&read.signers(&trusted(&[&peter])).expect("good")), ["PeterNeumann"]);
}

#[test]
fn who_is_believed_is_the_readers_choice() {
    let (a, b, c) = (signer(1), signer(2), signer(3));
    let note = signed("text\n", &[&a, &b]);
    assert_eq!(names(&note.signers(&trusted(&[&b, &c])).expect("good")), ["key-2"]);
    assert_eq!(names(&note.signers(&trusted(&[&c])).expect("good")), [] as [&str; 0]);
    assert_eq!(names(&note.signers(&trusted(&[&b, &a])).expect("good")), ["key-1", "key-2"]);
}

#[test]
fn a_forged_signature_spoils_the_note() {
    let (a, b) = (signer(1), signer(2));
    let note = signed("text\n", &[&a, &b]).to_string();
    let altered: Note = note.replace("text", "test").parse().expect("a note");
    assert_eq!(altered.signers(&trusted(&[&b])), Err(NoteError::BadSignature("key-2".to_owned())));
    // A signature of another length is none.
    let short = signed("text\n", &[&a]).to_string();
    let line = short.lines().last().expect("a line").rsplit_once(' ').expect("base64").1;
    let bytes = STANDARD.decode(line).expect("base64");
    let cut = short.replace(line, &STANDARD.encode(&bytes[..67]));
    let cut: Note = cut.parse().expect("a note");
    assert_eq!(cut.signers(&trusted(&[&a])), Err(NoteError::BadSignature("key-1".to_owned())));
    // To who does not know the key it says nothing.
    assert_eq!(cut.signers(&trusted(&[&b])), Ok(Vec::new()));
    // A good one does not make up for a second one that is not.
    let twice = format!("{short}{}\n", cut.to_string().lines().last().expect("a line"));
    let twice: Note = twice.parse().expect("a note");
    assert_eq!(twice.signers(&trusted(&[&a])), Err(NoteError::BadSignature("key-1".to_owned())));
}

#[test]
fn signatures_are_merged_by_key() {
    let (a, b, c) = (signer(1), signer(2), signer(3));
    let mut note = signed("text\n", &[&a, &b]);
    note.merge(&signed("text\n", &[&b, &c])).expect("the same text");
    assert_eq!(note, signed("text\n", &[&a, &b, &c]));
    note.sign(&b).expect("room");
    assert_eq!(note, signed("text\n", &[&a, &b, &c]), "one line for each key");
    assert_eq!(note.merge(&signed("test\n", &[&a])), Err(NoteError::OtherText));

    let many: Vec<Signer> =
        (0..150_u8).map(|n| Signer::new(format!("n{n}"), &[n; 32]).expect("a name")).collect();
    let (first, second) = many.split_at(SIGNATURES_MAX);
    let mut full = signed("text\n", &first.iter().collect::<Vec<_>>());
    let before = full.clone();
    assert_eq!(full.merge(&signed("text\n", &[&second[0]])), Err(NoteError::TooManySignatures));
    assert_eq!(full.sign(&second[0]), Err(NoteError::TooManySignatures));
    assert_eq!(full, before);
    assert_eq!(full.to_string().parse(), Ok(full.clone()));
    let one_more = format!(
        "{full}{}",
        second[0].verifier().name().replace(
            "n100",
            signed("text\n", &[&second[0]]).to_string().split_once("\n\n").expect("signatures").1,
        )
    );
    assert_eq!(one_more.parse::<Note>(), Err(NoteError::TooManySignatures));
}

#[test]
fn what_nobody_vouches_for_is_left_out() {
    let (a, b, c) = (signer(1), signer(2), signer(3));
    let note = signed("text\n", &[&c, &a, &b]);
    assert_eq!(note.signed_by(&trusted(&[&b, &a])), Ok(signed("text\n", &[&a, &b])));
    // The same line twice is one signature.
    let line = |note: &Note| note.to_string().lines().last().expect("a line").to_owned();
    let twice: Note = format!("{note}{}\n", line(&signed("text\n", &[&a]))).parse().expect("a note");
    assert_eq!(twice.signed_by(&trusted(&[&a])), Ok(signed("text\n", &[&a])));
    let forged: Note = note.to_string().replace("text", "test").parse().expect("a note");
    assert_eq!(forged.signed_by(&trusted(&[&b])), Err(NoteError::BadSignature("key-2".to_owned())));
}

#[test]
fn malformed_notes_are_named() {
    let good = signed("text\n", &[&signer(1), &signer(2)]).to_string();
    let wrong = |note: &str| note.parse::<Note>().expect_err(note);
    assert_eq!(wrong(""), NoteError::NoSignatures);
    assert_eq!(wrong("text\n"), NoteError::NoSignatures);
    assert_eq!(wrong("text\n\n"), NoteError::NoSignatures);
    assert_eq!(wrong(good.trim_end()), NoteError::NoSignatures);
    assert_eq!(wrong(&good.replace('\n', "\r\n")), NoteError::NoSignatures);
    assert_eq!(wrong(&good.replace("text", "te\u{7}t")), NoteError::Characters);
    assert_eq!(wrong(&good.replace("text", "te\rxt")), NoteError::Characters);
    assert_eq!(Note::from_bytes(b"te\xffxt\n\n"), Err(NoteError::Characters));
    assert_eq!(wrong(&format!("{good}\n")), NoteError::NoSignatures);
    assert_eq!(wrong(&format!("{good}and more\n")), NoteError::SignatureLine(3));
    assert_eq!(wrong(&good.replace("\u{2014} key-2", "- key-2")), NoteError::SignatureLine(2));
    assert_eq!(wrong(&good.replace("key-1", "key+1")), NoteError::SignatureLine(1));
    assert_eq!(wrong(&good.replace("key-1", "key\u{a0}1")), NoteError::SignatureLine(1));
    assert_eq!(wrong(&good.replace("key-1 ", "key-1  ")), NoteError::SignatureLine(1));
    assert_eq!(wrong(&good.replace("key-1 ", " ")), NoteError::SignatureLine(1));
    assert_eq!(wrong("text\n\n\u{2014} a AAAAAA==\n"), NoteError::SignatureLine(1), "an id and nothing else");
    assert_eq!(wrong("text\n\n\u{2014} a AAAAAAB=\n"), NoteError::SignatureLine(1), "bits behind the end");
    assert_eq!(
        wrong(&format!("{}\n\n\u{2014} a AAAAAAA=\n", "x".repeat(NOTE_BYTES_MAX))),
        NoteError::TooLong
    );
    for text in ["", "text", "te\0xt\n"] {
        assert!(Note::new(text).is_err(), "{text:?}");
    }
    // Blank lines are part of the text, but for the last one.
    let lines = signed("a\n\nb\n\n\n", &[&signer(1)]);
    assert_eq!(lines.to_string().parse(), Ok(lines));
}

#[test]
fn keys_that_are_none_are_named() {
    let wrong = |key: &str| key.parse::<VerifierKey>().expect_err(key);
    assert_eq!(wrong(""), KeyError::Form);
    assert_eq!(wrong("PeterNeumann+c74f20a3"), KeyError::Form);
    assert_eq!(wrong(&PUBLIC.replace("c74f20a3", "c74f20")), KeyError::Form);
    assert_eq!(wrong(&PUBLIC.replace("c74f20a3", "C74F20A3")), KeyError::Form, "a key has one text");
    assert_eq!(wrong(&PUBLIC.replace("c74f20a3", "c74f20a4")), KeyError::Id);
    assert_eq!(wrong(&PUBLIC.replace("PeterNeumann", "Petra")), KeyError::Id);
    assert_eq!(wrong(&PUBLIC.replace("Peter", "Peter ")), KeyError::Name);
    assert_eq!(wrong(&PUBLIC.replace("+AR", "+Ah")), KeyError::Algorithm);
    assert_eq!(wrong(&PUBLIC.replace("10TW", "")), KeyError::Key);
    assert_eq!(VerifierKey::new("a", &[0; 32]).err(), Some(KeyError::Key), "a point of small order");
    let mut no_point = [0; 32];
    no_point[0] = 2;
    assert_eq!(VerifierKey::new("a", &no_point).err(), Some(KeyError::Key));
    assert_eq!(Signer::new("", &[1; 32]).err(), Some(KeyError::Name));

    let list = format!("# those who sign\n\n{PUBLIC}\n  {}  \n", signer(1).verifier());
    let keys = TrustedKeys::parse(&list).expect("keys");
    assert_eq!(names(&keys.keys().iter().collect::<Vec<_>>()), ["PeterNeumann", "key-1"]);
    let twice = TrustedKeys::parse(&format!("{list}{PUBLIC}")).expect_err("a key twice");
    assert_eq!(
        twice,
        KeyError::Line { line: 5, error: Box::new(KeyError::Twice("PeterNeumann".to_owned())) }
    );
    let renamed = VerifierKey::new("Petra", peter().verifier().public_key()).expect("a key");
    assert!(TrustedKeys::new(vec![peter().verifier().clone(), renamed]).is_err(), "one key under two names");
    assert!(TrustedKeys::parse("no key").expect_err("no key").to_string().starts_with("line 1: a key is"));
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: Origin { cluster: ClusterId(0xabc), history: History(0xdef), group: 1 },
        size: 42,
        root: [7; 32],
        time_ms: 1_700_000_000_123,
    }
}

#[test]
fn a_checkpoint_has_one_text() {
    let text = checkpoint().to_string();
    assert_eq!(
        text,
        "flagraft/00000000000000000000000000000abc/0000000000000def/1\n42\n\
         BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\ntime 1700000000123\n"
    );
    assert_eq!(text.parse(), Ok(checkpoint()));
    assert_eq!(node_key_name(ClusterId(0xabc), 3), "flagraft/00000000000000000000000000000abc/node-3");
    let empty = Checkpoint { size: 0, root: empty_root(), time_ms: 0, ..checkpoint() };
    assert_eq!(empty.to_string().parse(), Ok(empty));
    for (from, to, error) in [
        ("flagraft/", "flagship/", CheckpointError::Origin),
        ("0abc/", "abc/", CheckpointError::Origin),
        ("def/1", "def/01", CheckpointError::Origin),
        ("def/1", "def/1/2", CheckpointError::Origin),
        ("def/1", "def/4294967296", CheckpointError::Origin),
        ("\n42\n", "\n042\n", CheckpointError::Size),
        ("\n42\n", "\n+42\n", CheckpointError::Size),
        ("\n42\n", "\n-1\n", CheckpointError::Size),
        ("\n42\n", "\n0\n", CheckpointError::Root),
        ("BwcHBw", "BwcH", CheckpointError::Root),
        ("HBwc=", "HBwd=", CheckpointError::Root),
        ("time ", "at ", CheckpointError::Time),
        ("time ", "time  ", CheckpointError::Time),
        ("123\n", "123", CheckpointError::Lines),
        ("123\n", "123\nmore\n", CheckpointError::Lines),
        ("123\n", "123\n\n", CheckpointError::Lines),
        ("time 1700000000123\n", "", CheckpointError::Lines),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text);
        assert_eq!(wrong.parse::<Checkpoint>(), Err(error), "{wrong}");
    }
}

/// The other implementation reads our checkpoint as a checkpoint.
#[test]
fn ours_is_a_checkpoint_to_others() {
    let theirs =
        tlog_tiles::Checkpoint::from_bytes(checkpoint().to_string().as_bytes()).expect("a checkpoint");
    assert_eq!(theirs.origin(), "flagraft/00000000000000000000000000000abc/0000000000000def/1");
    assert_eq!((theirs.size(), theirs.hash().0), (42, [7; 32]));
    assert_eq!(theirs.extension(), "time 1700000000123\n");
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 \u{e4}\u{2014}/+=.\n]{0,200}".prop_map(|text| format!("{text}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What we sign they verify, and what they sign is byte for byte the same.
    #[test]
    fn notes_both_ways(text in text(), name in "[!-*,-~\u{e4}]{1,20}", secret in any::<[u8; 32]>()) {
        let ours = Signer::new(name.clone(), &secret).expect("a name");
        let key = ours.verifier();
        let note = signed(&text, &[&ours]);

        let verifier = signed_note::StandardVerifier::new(&key.to_string()).expect("a key");
        let their_note = signed_note::Note::from_bytes(note.to_string().as_bytes()).expect("a note");
        let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let (good, unknown) = their_note.verify(&list).expect("good");
        prop_assert_eq!((good.len(), unknown.len()), (1, 0));
        prop_assert_eq!(their_note.text(), text.as_bytes());

        let secret = STANDARD.encode([&[1], secret.as_slice()].concat());
        let their_key = format!("PRIVATE+KEY+{name}+{}+{secret}", hex::encode(key.id()));
        let theirs = signed_note::StandardSigner::new(&their_key).expect("a key");
        let mut their_note = signed_note::Note::new(text.as_bytes(), &[]).expect("a text");
        their_note.add_sigs(&[&theirs]).expect("signed");
        let read = Note::from_bytes(&their_note.to_bytes()).expect("a note");
        prop_assert_eq!(&read, &note);
        prop_assert_eq!(read.signers(&trusted(&[&ours])).map(|keys| keys.len()), Ok(1));
    }

    /// One altered byte: either it is no note any more, or the key did not sign it, or the key is not named any more.
    #[test]
    fn an_altered_note_is_not_signed(text in text(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let key = signer(1);
        let mut bytes = signed(&text, &[&key]).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(note) = Note::from_bytes(&bytes) {
            prop_assert!(note.signers(&trusted(&[&key])).is_err() || note.signers(&trusted(&[&key])) == Ok(Vec::new()));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_as_by_others(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if Note::from_bytes(&bytes).is_ok() {
            prop_assert!(signed_note::Note::from_bytes(&bytes).is_ok());
        }
    }
}
