//! Bytes as lower-case hexadecimal digits in JSON: what `hex::serde` writes and reads, without a string built digit by
//! digit for each hash of each row.

use serde::{Deserializer, Serializer, ser::Error as _};

/// As much as any field here has, in digits.
const DIGITS_MAX: usize = 64;

/// Whether a text is this many digits, each in its one form.
pub(crate) fn is_lower(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Writes the digits.
pub(crate) fn serialize<S: Serializer, const N: usize>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut digits = [0; DIGITS_MAX];
    let digits = digits.get_mut(..N.saturating_mul(2)).ok_or_else(|| S::Error::custom("too many bytes"))?;
    hex::encode_to_slice(bytes, digits).map_err(S::Error::custom)?;
    serializer.serialize_str(std::str::from_utf8(digits).map_err(S::Error::custom)?)
}

/// Reads them, in either case.
pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error>
where
    [u8; N]: hex::FromHex<Error = hex::FromHexError>,
{
    hex::serde::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Ours(#[serde(with = "super")] [u8; 32], #[serde(with = "super")] [u8; 16]);

    #[derive(Serialize, Deserialize)]
    struct Theirs(#[serde(with = "hex")] [u8; 32], #[serde(with = "hex")] [u8; 16]);

    #[test]
    fn it_is_what_hex_writes_and_reads() {
        let (long, short) = (std::array::from_fn(|n| 7 * u8::try_from(n).expect("small")), [0xf0; 16]);
        let ours = serde_json::to_string(&Ours(long, short)).expect("JSON");
        assert_eq!(ours, serde_json::to_string(&Theirs(long, short)).expect("JSON"));
        let read: Ours = serde_json::from_str(&ours.to_uppercase()).expect("read again");
        assert_eq!((read.0, read.1), (long, short));
        assert!(serde_json::from_str::<Ours>(r#"["00","00"]"#).is_err());
    }
}
