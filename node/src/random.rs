//! Random bytes from the operating system.

/// `N` random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness nothing here can go on safely, and Linux has it from the moment a process can run.
    #[expect(clippy::expect_used, reason = "a system without a source of randomness can't run a node")]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
