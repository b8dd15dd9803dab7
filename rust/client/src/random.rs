//! Names that nobody else has.

use crypto_box::aead::OsRng;
use crypto_box::aead::rand_core::RngCore as _;

/// Returns 12 random letters and digits.
pub(crate) fn random_name() -> String {
    let mut bytes = [0; 6];
    OsRng.fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
