//! The text of a token, and what the server stores of it.
//!
//! A token is `pbk_ID_SECRET`. The id is public: it names the token in lists and logs, and it owns the requests that the
//! token made. The secret is 32 random bytes in base 62, and six digits of a checksum. The checksum tells a token that
//! was mistyped or cut off from a token that the server does not know, and lets scanners recognise a token with
//! certainty. The server stores the SHA-256 of the whole text. A slow hash is not needed, because nobody can try 2^256
//! secrets.

use std::fmt;
use std::str::FromStr;

use rand::TryRng as _;
use rand::rngs::{SysError, SysRng};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

/// The first characters of every token.
const PREFIX: &str = "pbk_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The number of characters of a new id. They are lower-case letters and digits, so there are 36^10 ids.
const ID_CHARS: usize = 10;
/// The number of random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// The number of digits in base 62 that 32 bytes need.
const SECRET_CHARS: usize = 43;
/// The number of digits in base 62 that the four bytes of a checksum need.
const CHECKSUM_CHARS: usize = 6;
/// The length of every token.
const TOKEN_CHARS: usize = PREFIX.len() + ID_CHARS + 1 + SECRET_CHARS + CHECKSUM_CHARS;
/// The number of bytes of a SHA-256.
const HASH_BYTES: usize = 32;

/// The text of a new token. It is shown once, and is not stored.
pub(crate) struct NewSecret {
    text: String,
}

impl NewSecret {
    /// Makes a token from random bytes of the operating system. Fails if the operating system returns none.
    pub(crate) fn generate() -> Result<Self, SysError> {
        let (mut id, mut secret) = ([0; ID_CHARS], [0; SECRET_BYTES]);
        SysRng.try_fill_bytes(&mut id)?;
        SysRng.try_fill_bytes(&mut secret)?;
        // An id need not be uniformly random. It only has to differ from other ids.
        let id = id.map(|byte| char::from_digit(u32::from(byte) % 36, 36).unwrap_or('0'));
        let mut text = PREFIX.to_owned();
        text.extend(id);
        text.push('_');
        base62(&secret, SECRET_CHARS, &mut text);
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Ok(Self { text })
    }

    /// Returns the text. Everybody who has the text can use the token.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    pub(crate) fn id(&self) -> &str {
        self.text.split('_').nth(1).unwrap_or_default()
    }

    pub(crate) fn hash(&self) -> Hash {
        Hash::of(&self.text)
    }
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewSecret({})", self.id())
    }
}

/// A text that a caller has given as a token, and that has the form of one.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    id: &'a str,
    text: &'a str,
}

/// The reason why a text is not a token. The text itself is not shown, because it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAToken {
    #[error("a token is `pbk_`, an id, `_` and a secret, as `tokens new` prints it")]
    Form,
    #[error("the token is mistyped or cut off: its checksum is wrong")]
    Checksum,
}

impl<'a> Presented<'a> {
    /// Checks the form and the checksum of a text.
    pub(crate) fn parse(text: &'a str) -> Result<Self, NotAToken> {
        let (id, secret) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(NotAToken::Form)?;
        if !is_id(id) || !secret.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(NotAToken::Form);
        }
        // A token of another length was cut off, or has a part twice. The length is checked first, so that the work is
        // the same for every token.
        let body = text.get(..TOKEN_CHARS - CHECKSUM_CHARS).filter(|_| text.len() == TOKEN_CHARS);
        match body {
            Some(body) if text.ends_with(&checksum(body)) => Ok(Self { id, text }),
            _ => Err(NotAToken::Checksum),
        }
    }

    pub(crate) fn id(self) -> &'a str {
        self.id
    }

    pub(crate) fn hash(self) -> Hash {
        Hash::of(self.text)
    }
}

/// Whether a text has the form of a token's id.
fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The SHA-256 of a token's text. The comparison of two hashes takes the same time wherever they differ.
#[derive(Clone, Copy)]
pub(crate) struct Hash([u8; HASH_BYTES]);

impl Hash {
    fn of(text: &str) -> Self {
        let mut bytes = [0; HASH_BYTES];
        // Invariant: both slices have the same length, because a SHA-256 has 32 bytes.
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }

    pub(crate) fn stored(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(self) -> [u8; HASH_BYTES] {
        self.0
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Hash {}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

/// The id and the hash of a token, as one text `ID:HEX`. The settings hold a token in this form, so that they contain
/// no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HashText {
    pub(crate) id: String,
    pub(crate) hash: Hash,
}

impl HashText {
    /// Returns the id and the hash of a token.
    pub(crate) fn of_token(text: &str) -> Result<Self, NotAToken> {
        let token = Presented::parse(text)?;
        Ok(Self { id: token.id().to_owned(), hash: token.hash() })
    }
}

impl FromStr for HashText {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let (id, hex) =
            text.split_once(':').filter(|(id, hex)| is_id(id) && hex.len() == 2 * HASH_BYTES).ok_or(NotAHash)?;
        let mut bytes = [0; HASH_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            let [high, low] = [pair.first(), pair.last()].map(|half| half.copied().and_then(digit));
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or(NotAHash)?;
        }
        Ok(Self { id: id.to_owned(), hash: Hash(bytes) })
    }
}

impl fmt::Display for HashText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.id)?;
        self.hash.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The error of a text that is not the hash of a token. The text is not shown, because it may be the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a token is its id, `:` and 64 hexadecimal digits, as `tokens new --settings` prints it")]
pub(crate) struct NotAHash;

/// Returns the checksum of the text before it: the first four bytes of its SHA-256, in base 62.
fn checksum(body: &str) -> String {
    let hash = digest(&SHA256, body.as_bytes());
    let mut text = String::with_capacity(CHECKSUM_CHARS);
    base62(hash.as_ref().get(..4).unwrap_or_default(), CHECKSUM_CHARS, &mut text);
    text
}

/// Appends a number in base 62, with leading zeros up to `chars` digits. `bytes` is the number, its highest byte first.
fn base62(bytes: &[u8], chars: usize, text: &mut String) {
    let mut digits = vec![0_u8; chars];
    for byte in bytes {
        let mut carry = usize::from(*byte);
        for digit in digits.iter_mut().rev() {
            carry += usize::from(*digit) << 8;
            // Invariant: the value fits, because a digit is less than 62.
            *digit = u8::try_from(carry % DIGITS.len()).unwrap_or_default();
            carry /= DIGITS.len();
        }
    }
    text.extend(digits.iter().filter_map(|digit| DIGITS.get(usize::from(*digit))).map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_recognised_and_is_like_no_other() {
        let (one, other) = (NewSecret::generate().unwrap(), NewSecret::generate().unwrap());
        assert_eq!(one.reveal().len(), TOKEN_CHARS);
        assert_ne!(one.reveal(), other.reveal());
        let presented = Presented::parse(one.reveal()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((presented.id(), presented.hash()), (one.id(), one.hash()));
        assert_ne!(one.hash(), other.hash());
        assert!(!format!("{one:?} {:?}", one.hash()).contains(&one.reveal()[15..]));
    }

    #[test]
    fn a_typing_error_is_told_from_what_is_no_token() {
        let error = |text: &str| Presented::parse(text).err();
        let token = NewSecret::generate().unwrap();
        let text = token.reveal();
        for at in (0..text.len()).filter(|at| ![0, 1, 2, 3, 14].contains(at)) {
            let mut typo = text.as_bytes().to_vec();
            typo[at] = if typo[at] == b'7' { b'8' } else { b'7' };
            assert_eq!(error(std::str::from_utf8(&typo).unwrap()), Some(NotAToken::Checksum), "{at}");
        }
        assert_eq!(error(&text[..text.len() - 1]), Some(NotAToken::Checksum));
        assert_eq!(error(&format!("{text}a")), Some(NotAToken::Checksum));
        for other in
            ["", "pbk_", "pbk__", "pbk_abc_def", "whsec_AAAA", "pbk_ABCDEFGHIJ_x", "pbk_äöüäö_x", "pbk_0123456789_ä"]
        {
            assert_eq!(error(other), Some(NotAToken::Form), "{other}");
        }
    }

    #[test]
    fn the_hash_goes_through_text_and_a_token_in_its_place_is_not_repeated() {
        let token = NewSecret::generate().unwrap();
        let text = HashText { id: token.id().to_owned(), hash: token.hash() };
        assert_eq!(text.to_string().parse(), Ok(text.clone()));
        for wrong in ["", ":", "abc:00", token.reveal(), &format!("{text}0"), &text.to_string().replace(':', ":g")] {
            let error = wrong.parse::<HashText>().unwrap_err().to_string();
            assert!(wrong.is_empty() || wrong.len() < 4 || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn digits_are_those_of_the_number() {
        let text = |bytes: &[u8], chars| {
            let mut text = String::new();
            base62(bytes, chars, &mut text);
            text
        };
        assert_eq!(text(&[61], 3), "00z");
        assert_eq!(text(&[1, 0], 2), "48");
        assert_eq!(text(&[0xff; 4], CHECKSUM_CHARS), "4gfFC3");
    }
}
