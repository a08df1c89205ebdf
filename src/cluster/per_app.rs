//! State kept per app from one decision to the next, while apps come and go.

use std::sync::Arc;

use super::Catalog;

/// One `T` per app of a catalog. When the catalog changes, apps keep their state by id, new apps
/// start with the default and vanished apps are forgotten.
#[derive(Debug, Clone, Default)]
pub struct PerApp<T> {
    catalog: Arc<Catalog>,
    items: Vec<T>,
}

impl<T: Default> PerApp<T> {
    /// Follows `catalog` and gives the state in its order. Free while the catalog is the same
    /// object.
    pub fn align(&mut self, catalog: &Arc<Catalog>) -> &mut [T] {
        if !Arc::ptr_eq(&self.catalog, catalog) {
            let previous = std::mem::replace(&mut self.catalog, Arc::clone(catalog));
            let mut old = previous.apps.iter().zip(std::mem::take(&mut self.items)).peekable();
            // Both sides are sorted by id, so one walk joins them.
            self.items = catalog
                .apps
                .iter()
                .map(|app| {
                    while old.next_if(|(gone, _)| gone.id < app.id).is_some() {}
                    old.next_if(|(same, _)| same.id == app.id)
                        .map(|(_, item)| item)
                        .unwrap_or_default()
                })
                .collect();
        }
        &mut self.items
    }

    /// The state in the order of the catalog that was followed last.
    #[must_use]
    pub fn items(&self) -> &[T] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{App, AppId};

    fn catalog(names: &[&str]) -> Arc<Catalog> {
        let apps = names.iter().map(|name| App::fixture(AppId::new("bank", name), 0)).collect();
        Arc::new(Catalog { domains: Vec::new(), apps })
    }

    #[test]
    fn apps_keep_their_state_when_others_come_and_go() {
        let mut kept = PerApp::<u32>::default();
        kept.align(&catalog(&["b", "d", "f"])).copy_from_slice(&[1, 2, 3]);
        assert_eq!(kept.align(&catalog(&["a", "d", "e", "f", "g"])), [0, 2, 0, 3, 0]);
        assert_eq!(kept.align(&catalog(&[])), [0_u32; 0]);
        assert_eq!(kept.align(&catalog(&["d"])), [0]);
    }
}
