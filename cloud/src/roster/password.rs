//! Passwords: argon2id with the crate's defaults (19 MiB, 2 passes), which are OWASP's.

use std::sync::LazyLock;

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use contract::Code;
use zeroize::Zeroizing;

use crate::services::Failure;
use crate::shared::Shared;

/// Fewest characters.
const MIN_CHARS: usize = 10;
/// Most bytes: more would only cost time.
const MAX_BYTES: usize = 256;

/// Checked when there is no such user, so that the time taken says nothing about which users there are.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash_now("nobody has this password").ok());

/// Refuses a password that is too short, too long, or the name.
///
/// # Errors
/// `invalid_field`.
pub fn check(name: &str, password: &str) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure::field(Code::INVALID_FIELD, "password", message));
    if password.chars().count() < MIN_CHARS {
        return refuse(format!("a password has at least {MIN_CHARS} characters; a few words do well"));
    }
    if password.len() > MAX_BYTES {
        return refuse(format!("a password has at most {MAX_BYTES} bytes"));
    }
    let lower = password.to_lowercase();
    if lower.contains(name) && lower.len() < name.len() + MIN_CHARS {
        return refuse("a password must be more than the name".into());
    }
    let first = password.chars().next();
    if password.chars().all(|c| Some(c) == first) {
        return refuse("a password must be more than one character again and again".into());
    }
    Ok(())
}

/// The hash of a password, in the PHC form.
///
/// # Errors
/// [`Failure::Internal`].
pub async fn hash(shared: &Shared, password: &str) -> Result<String, Failure> {
    let password = Zeroizing::new(password.to_owned());
    let _turn = shared.hashing.acquire().await;
    tokio::task::spawn_blocking(move || hash_now(&password)).await?
}

fn hash_now(password: &str) -> Result<String, Failure> {
    let mut salt = [0u8; 16];
    getrandom::fill(&mut salt).map_err(|error| Failure::Internal(format!("no random numbers: {error}")))?;
    let failed = |error: argon2::password_hash::Error| Failure::Internal(format!("argon2: {error}"));
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Whether a password is the one that was hashed; takes as long where there is no hash.
///
/// # Errors
/// [`Failure::Internal`].
pub async fn matches(shared: &Shared, password: &str, hash: Option<&str>) -> Result<bool, Failure> {
    if password.len() > MAX_BYTES {
        return Ok(false);
    }
    let password = Zeroizing::new(password.to_owned());
    let hash = hash.map(str::to_owned);
    let _turn = shared.hashing.acquire().await;
    let done = tokio::task::spawn_blocking(move || {
        let known = hash.is_some();
        let Some(hash) = hash.or_else(|| NOBODY.clone()) else { return false };
        let same = PasswordHash::new(&hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        same && known
    });
    Ok(done.await?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bad_passwords_are_refused() {
        for (password, good) in [
            ("correct horse", true),
            ("short", false),
            ("aaaaaaaaaaaaaa", false),
            ("eve1234567", false),
            ("eve and a longer sentence", true),
        ] {
            assert_eq!(check("eve", password).is_ok(), good, "{password}");
        }
        assert!(check("eve", &"long ".repeat(100)).is_err());
    }

    #[test]
    fn it_is_argon2id_with_its_own_salt() {
        let (first, second) = (hash_now("correct horse").unwrap(), hash_now("correct horse").unwrap());
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, second);
    }
}
