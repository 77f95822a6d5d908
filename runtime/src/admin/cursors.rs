//! Cursors of lists whose names must not be shown: a name may be a URL with a secret in its path.
//!
//! A cursor contains the last name of its page, encrypted with a key of this process. So it shows nothing, the list
//! continues there even if that name has gone, and a cursor of an earlier process is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Makes cursors, and reads them back.
pub(super) struct Cursors {
    random: SystemRandom,
    /// `None`: the operating system returns no random bytes. Then there are no cursors.
    key: Option<LessSafeKey>,
}

impl Default for Cursors {
    fn default() -> Self {
        let random = SystemRandom::new();
        let mut bytes = [0; 32];
        let key = random.fill(&mut bytes).and_then(|()| UnboundKey::new(&CHACHA20_POLY1305, &bytes));
        Self { random, key: key.ok().map(LessSafeKey::new) }
    }
}

impl Cursors {
    /// Makes the cursor of a page that ends with this name.
    pub(super) fn seal(&self, name: &str) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = name.as_bytes().to_vec();
        let nonce_of_key = Nonce::assume_unique_for_key(nonce);
        self.key.as_ref()?.seal_in_place_append_tag(nonce_of_key, Aad::empty(), &mut sealed).ok()?;
        let mut cursor = nonce.to_vec();
        cursor.append(&mut sealed);
        Some(URL_SAFE_NO_PAD.encode(cursor))
    }

    /// Returns the name in a cursor. `None`: this process has not made the cursor.
    pub(super) fn open(&self, cursor: &str) -> Option<String> {
        let mut bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let name = self.key.as_ref()?.open_in_place(nonce, Aad::empty(), sealed).ok()?;
        String::from_utf8(name.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_shows_nothing() {
        let cursors = Cursors::default();
        let name = "https://hooks.example.com/secret-7f3a";
        let cursor = cursors.seal(name).unwrap();
        assert_eq!(cursors.open(&cursor).as_deref(), Some(name));
        let bytes = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"secret"));
        assert_ne!(cursors.seal(name).unwrap(), cursor);
        assert_eq!(Cursors::default().open(&cursor), None, "another process");
        for bad in ["", "x", "AAAA", "nhttps://a", &cursor[1..]] {
            assert_eq!(cursors.open(bad), None, "{bad}");
        }
    }
}
