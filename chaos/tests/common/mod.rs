//! What the tests of this crate share.

/// How often a test repeats what it repeats: `in_ci`, or `full` if `FLAGRAFT_TEST_ROUNDS` says so.
pub fn rounds(in_ci: u32, full: u32) -> u32 {
    if std::env::var("FLAGRAFT_TEST_ROUNDS").is_ok_and(|rounds| rounds == "full") { full } else { in_ci }
}
