//! A note: its form, signing it, and who signed it.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{NOTE_BYTES_MAX, SIGNATURES_MAX, Signer, TrustedKeys, VerifierKey, key};

/// What a line of a signature begins with: an em dash and a space.
const DASH: &str = "\u{2014} ";

/// A text with signatures under it. Its text form is that of the module's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A line of a note: who is said to have signed it, and with what. Whether that is true, [`Note::signers`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The name of the key.
    pub name: String,
    /// The id of the key.
    pub key_id: [u8; 4],
    /// The signature: 64 bytes where the key is of Ed25519.
    pub bytes: Vec<u8>,
}

/// What is wrong with a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteError {
    /// It has more bytes than a note may have.
    TooLong,
    /// Its text does not end with a newline, or is empty.
    Text,
    /// There is a control character in it, or it is not UTF-8.
    Characters,
    /// No blank line with signatures follows its text.
    NoSignatures,
    /// This line of its signatures, counted from 1, is not one.
    SignatureLine(usize),
    /// It has more signatures than a note may have.
    TooManySignatures,
    /// It bears the name and the id of this key, whose signature this is not.
    BadSignature(String),
    /// What is to be merged with it has another text.
    OtherText,
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a signed note has at most {NOTE_BYTES_MAX} bytes"),
            Self::Text => f.write_str("the text of a signed note is one or more whole lines"),
            Self::Characters => {
                f.write_str("a signed note is UTF-8 without control characters other than the ends of lines")
            }
            Self::NoSignatures => f.write_str(
                "the note is not signed: a blank line and lines that begin with \u{2014} end a signed note",
            ),
            Self::SignatureLine(line) => write!(
                f,
                "line {line} of the note's signatures is not \u{2014}, a key's name and a signature in base64"
            ),
            Self::TooManySignatures => write!(f, "a signed note has at most {SIGNATURES_MAX} signatures"),
            Self::BadSignature(name) => write!(
                f,
                "the note's signature by {name} is not good: the note was altered, or somebody else signed in that name"
            ),
            Self::OtherText => {
                f.write_str("the two notes do not have the same text, so their signatures can't be joined")
            }
        }
    }
}

impl std::error::Error for NoteError {}

impl Note {
    /// A note that nobody has signed yet.
    ///
    /// # Errors
    /// When this can't be the text of a note.
    pub fn new(text: impl Into<String>) -> Result<Self, NoteError> {
        let text = text.into();
        if !text.ends_with('\n') {
            return Err(NoteError::Text);
        }
        if text.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return Err(NoteError::Characters);
        }
        if text.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Reads a note.
    ///
    /// # Errors
    /// When it is malformed. A note without signatures is.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::Characters)?;
        // The last blank line: the text may have others.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::NoSignatures)?;
        let mut note = Self::new(format!("{text}\n"))?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
        for (line, number) in lines.split('\n').zip(1_usize..) {
            let signature = Signature::parse(line).ok_or(NoteError::SignatureLine(number))?;
            if number > SIGNATURES_MAX {
                return Err(NoteError::TooManySignatures);
            }
            note.signatures.push(signature);
        }
        Ok(note)
    }

    /// Its text, all lines ended: what is signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its signatures, good or not.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Signs it. A signature by the same key that is there already is replaced.
    ///
    /// # Errors
    /// When there is no room for one more.
    pub fn sign(&mut self, signer: &Signer) -> Result<(), NoteError> {
        let key = signer.verifier();
        let bytes = signer.sign(self.text.as_bytes()).to_vec();
        self.put(Signature { name: key.name().to_owned(), key_id: key.id(), bytes })
    }

    /// Takes the signatures of another note of the same text over, of keys that have not signed this one.
    ///
    /// They are not checked: check both notes first, see [`Note::signed_by`], or the result.
    ///
    /// # Errors
    /// When the texts differ, or there is no room for the signatures: then the note stays as it is.
    pub fn merge(&mut self, other: &Self) -> Result<(), NoteError> {
        if self.text != other.text {
            return Err(NoteError::OtherText);
        }
        let mut merged = self.clone();
        for signature in &other.signatures {
            if !merged.signatures.iter().any(|there| there.is_by_the_key_of(signature)) {
                merged.put(signature.clone())?;
            }
        }
        *self = merged;
        Ok(())
    }

    /// Who of these signed it, each once, in the order of the signatures. Signatures of other keys are passed over.
    ///
    /// # Errors
    /// When one of these keys is named and did not sign this: such a note is forged or damaged, whoever else signed it.
    pub fn signers<'a>(&self, trusted: &'a TrustedKeys) -> Result<Vec<&'a VerifierKey>, NoteError> {
        let mut signers: Vec<&VerifierKey> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = trusted.find(&signature.name, signature.key_id) else { continue };
            let good = signature
                .bytes
                .as_slice()
                .try_into()
                .is_ok_and(|bytes| key.verifies(self.text.as_bytes(), bytes));
            if !good {
                return Err(NoteError::BadSignature(key.name().to_owned()));
            }
            if !signers.contains(&key) {
                signers.push(key);
            }
        }
        Ok(signers)
    }

    /// The note with the signatures of these keys, each of which is good, and without all others.
    ///
    /// # Errors
    /// As [`Note::signers`].
    pub fn signed_by(&self, trusted: &TrustedKeys) -> Result<Self, NoteError> {
        self.signers(trusted)?;
        let mut note = Self { text: self.text.clone(), signatures: Vec::new() };
        let of_these = |signature: &&Signature| trusted.find(&signature.name, signature.key_id).is_some();
        self.signatures.iter().filter(of_these).try_for_each(|signature| note.put(signature.clone()))?;
        Ok(note)
    }

    fn put(&mut self, signature: Signature) -> Result<(), NoteError> {
        if let Some(there) = self.signatures.iter_mut().find(|there| there.is_by_the_key_of(&signature)) {
            *there = signature;
            return Ok(());
        }
        if self.signatures.len() >= SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.push(signature);
        Ok(())
    }
}

impl Signature {
    /// Reads a line, without its end.
    fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = STANDARD.decode(base64).ok()?;
        let (key_id, bytes) = bytes.split_first_chunk::<4>()?;
        (key::is_name(name) && !bytes.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id: *key_id,
            bytes: bytes.to_vec(),
        })
    }

    fn is_by_the_key_of(&self, other: &Self) -> bool {
        self.name == other.name && self.key_id == other.key_id
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.as_slice(), &self.bytes].concat();
        writeln!(f, "{DASH}{} {}", self.name, STANDARD.encode(bytes))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        Self::from_bytes(text.as_bytes())
    }
}
