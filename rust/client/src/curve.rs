//! CURVE keys: the files in which they are, and the encryption of a connection's frames.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crypto_box::{PublicKey, SecretKey};
use sha2::{Digest as _, Sha256};

use crate::errors::SetupError;

const ALPHABET: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
const LETTERS: usize = 40;
/// The largest key file, in bytes.
const MOST_FILE: u64 = 65_536;

/// The keys for a closed bus: our own pair, and the bus' public key.
#[derive(Clone)]
pub struct Curve {
    pub(crate) public: PublicKey,
    pub(crate) secret: SecretKey,
    pub(crate) server: PublicKey,
    fingerprint: String,
}

impl Curve {
    /// Reads the keys from the files that `nemo-bridge keys` writes.
    ///
    /// # Arguments
    ///
    /// * `secret_key`: our own pair, the file `NAME.key_secret`.
    /// * `server_key`: the bus' public key, a file `NAME.key`.
    ///
    /// # Errors
    ///
    /// A file cannot be read, holds no key, or others can read the secret one.
    pub fn read(
        secret_key: impl AsRef<Path>,
        server_key: impl AsRef<Path>,
    ) -> Result<Curve, SetupError> {
        let path = secret_key.as_ref();
        let own = KeyFile::read(path)?;
        own.check_private(path)?;
        let secret = own.secret.ok_or_else(|| {
            fault(
                path,
                "holds no secret key; that is in the file that ends in .key_secret",
            )
        })?;
        let secret = SecretKey::from(secret);
        let public = PublicKey::from(own.public);
        if secret.public_key() != public {
            return Err(fault(
                path,
                "its secret key does not belong to its public key",
            ));
        }
        let server = KeyFile::read(server_key.as_ref())?.public.into();
        Ok(Curve {
            public,
            secret,
            server,
            fingerprint: fingerprint(&own.public_text),
        })
    }

    /// Keys that no bus has.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Curve {
        let secret = SecretKey::from([7; 32]);
        Curve {
            public: secret.public_key(),
            server: SecretKey::from([8; 32]).public_key(),
            secret,
            fingerprint: String::new(),
        }
    }

    /// Returns the first segments of the event types that only the holder of this key may publish.
    pub(crate) fn own_type_prefix(&self) -> String {
        format!("client.{}", self.fingerprint)
    }
}

impl fmt::Debug for Curve {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.debug_struct("Curve")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

struct KeyFile {
    public: [u8; 32],
    public_text: String,
    secret: Option<[u8; 32]>,
    mode: Option<(u32, u32)>,
}

impl KeyFile {
    fn read(path: &Path) -> Result<KeyFile, SetupError> {
        let unreadable = |error: std::io::Error| fault(path, &error.to_string());
        let about = std::fs::metadata(path).map_err(unreadable)?;
        // Reading a pipe waits for whoever writes to it.
        if !about.is_file() || about.len() > MOST_FILE {
            return Err(fault(path, "is no key file"));
        }
        let file = File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(MOST_FILE)
            .read_to_string(&mut text)
            .map_err(|_| fault(path, "is no key file"))?;
        let (mut public, mut secret, mut in_curve) = (None, None, false);
        for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
            match line.split_once('=') {
                _ if line.is_empty() || line.starts_with('#') => {}
                None => in_curve = line == "curve",
                Some((name, value)) if in_curve => {
                    let value = value.trim().trim_matches(['"', '\'']);
                    match name.trim() {
                        "public-key" => public = Some(value),
                        "secret-key" => secret = Some(value),
                        _ => {}
                    }
                }
                Some(_) => {}
            }
        }
        let public_text = public.ok_or_else(|| fault(path, "holds no public key"))?;
        let key = |name: &str, text: &str| {
            decode_z85(text)
                .ok_or_else(|| fault(path, &format!("its {name} is not 40 letters of Z85")))
        };
        Ok(KeyFile {
            public: key("public-key", public_text)?,
            public_text: public_text.to_owned(),
            secret: secret.map(|text| key("secret-key", text)).transpose()?,
            mode: mode(&about),
        })
    }

    /// Checks that nobody else can read it. A file of another owner may be readable by its group: systemd passes
    /// credentials like that.
    fn check_private(&self, path: &Path) -> Result<(), SetupError> {
        let Some((mode, owner)) = self.mode else {
            return Ok(());
        };
        let others = if Some(owner) == crate::endpoint::user_id() {
            0o077
        } else {
            0o037
        };
        if mode & others == 0 {
            return Ok(());
        }
        let path_text = path.display();
        Err(fault(
            path,
            &format!("others can read this secret key (mode {mode:04o}); chmod 600 {path_text}"),
        ))
    }
}

#[cfg(unix)]
fn mode(about: &std::fs::Metadata) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((about.mode() & 0o7777, about.uid()))
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> Option<(u32, u32)> {
    None
}

fn fault(path: &Path, why: &str) -> SetupError {
    SetupError::new(format!("{}: {why}", path.display()))
}

/// Returns the first 16 digits of the SHA-256 of a key's text, as the bridge does.
fn fingerprint(public: &str) -> String {
    Sha256::digest(public.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Reads 32 bytes in Z85 (ZeroMQ RFC 32).
fn decode_z85(text: &str) -> Option<[u8; 32]> {
    if text.len() != LETTERS {
        return None;
    }
    let mut key = [0; 32];
    for (letters, bytes) in text.as_bytes().chunks(5).zip(key.chunks_mut(4)) {
        let mut number = 0_u64;
        for letter in letters {
            let digit = ALPHABET.iter().position(|one| one == letter)?;
            number = number * 85 + u64::try_from(digit).ok()?;
        }
        bytes.copy_from_slice(&u32::try_from(number).ok()?.to_be_bytes());
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of ZeroMQ's RFC 32 and what is no Z85.
    #[test]
    fn z85() {
        let key = decode_z85("JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6").unwrap();
        assert_eq!(key[..4], [0x8e, 0x0b, 0xdd, 0x69]);
        for text in ["", "short", &"~".repeat(40), &"#".repeat(40)] {
            assert_eq!(decode_z85(text), None);
        }
    }

    // The fingerprint is the bridge's: it names the types that only this key may publish.
    #[test]
    fn fingerprints() {
        assert_eq!(fingerprint("x"), "2d711642b726b044");
    }

    // What is wrong with a key file is said with its path, and never with its content.
    #[test]
    #[cfg(unix)]
    fn key_files() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder =
            std::env::temp_dir().join(format!("nemo-bridge-client-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("app.key_secret");
        let (public, secret) = (
            "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
            "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs",
        );
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let read = || Curve::read(&path, &path);
        assert!(Curve::read(folder.join("missing"), &path).is_err());
        assert!(
            Curve::read(&folder, &path)
                .unwrap_err()
                .to_string()
                .contains("is no key file")
        );
        write("curve\n", 0o600);
        assert!(read().unwrap_err().to_string().contains("no public key"));
        write(&format!("curve\n    public-key = \"{public}\"\n"), 0o600);
        assert!(read().unwrap_err().to_string().contains("no secret key"));
        let both = format!(
            "# x\n\nmetadata\n  publish = \"a\"\ncurve\n  public-key = \"{public}\"\n  secret-key = \"{secret}\"\n"
        );
        write(&both, 0o644);
        assert!(read().unwrap_err().to_string().contains("chmod 600"));
        write(&both, 0o600);
        let curve = read().unwrap();
        assert!(curve.own_type_prefix().starts_with("client."));
        assert!(!format!("{curve:?}").contains(secret));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
