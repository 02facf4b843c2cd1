//! What properties are shown on: things that are made of random bytes. Whoever includes this has `changes` and `common` too.

use std::fmt::Debug;

use arbitrary::Unstructured;
use flagraft_core::context::EvaluationContext;
use proptest::prelude::*;

use crate::{changes, common::Catalog};

/// So many random bytes make one thing. What a thing needs beyond them is made of zeros: the simplest there is.
const BYTES: usize = 512;

/// Things that are made of bytes, of random ones.
pub fn made<T: Debug>(
    make: impl Fn(&mut Unstructured<'_>) -> arbitrary::Result<T>,
) -> impl Strategy<Value = T> {
    Just(())
        .prop_perturb(|(), mut random| {
            let mut bytes = [0; BYTES];
            random.fill_bytes(&mut bytes);
            bytes
        })
        .prop_map(move |bytes| make(&mut Unstructured::new(&bytes)).expect("any bytes make one"))
}

/// Contexts.
pub fn context() -> impl Strategy<Value = EvaluationContext> {
    made(changes::context).prop_map(EvaluationContext::new)
}

/// A catalog that has all that changes name, and nothing configured.
pub fn founded() -> Catalog {
    let mut catalog = Catalog::new(&[]);
    catalog.must(changes::founding());
    catalog
}
