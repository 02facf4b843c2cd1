//! The copy for one thread that asks a lot.

use std::{fmt, ops::Deref, sync::Arc};

use arc_swap::{ArcSwapOption, Cache};

use crate::{held::Held, shared::Shared, view::View};

/// Where the copy is published.
struct Published(Arc<Shared>);

impl Deref for Published {
    type Target = ArcSwapOption<Held>;

    fn deref(&self) -> &ArcSwapOption<Held> {
        &self.0.held
    }
}

/// The newest copy, for a thread that asks so much that looking for a newer one should cost it next to nothing: see
/// [`crate::Client::reader`].
pub struct Reader {
    published: Cache<Published, Option<Arc<Held>>>,
    view: View,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("view", &self.view).finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { published: Cache::new(Published(Arc::clone(&shared))), view: View::of(shared) }
    }

    /// The copy as it is now.
    #[inline]
    pub fn now(&mut self) -> &View {
        let newest = self.published.load();
        if !self.view.is_of(newest.as_ref()) {
            self.view.turn_to(newest.clone());
        }
        &self.view
    }
}
