//! The images of a region: the operator's own catalogue, overlaid by the ConfigMap that the region names.

use std::collections::BTreeMap;

use crate::component::Component;

/// Image references by catalogue key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images(BTreeMap<String, String>);

impl Images {
    pub fn new(images: BTreeMap<String, String>) -> Self {
        Self(images)
    }

    /// This catalogue with the entries of `over` in front of its own. Blank entries are no entries.
    #[must_use]
    pub fn overlaid(&self, over: &BTreeMap<String, String>) -> Images {
        let mut images = self.0.clone();
        for (key, image) in over {
            let image = image.trim();
            if !image.is_empty() {
                images.insert(key.clone(), image.to_owned());
            }
        }
        Images(images)
    }

    pub fn get(&self, component: Component) -> Option<&str> {
        self.0.get(Self::key(component)).map(String::as_str)
    }

    /// The image of a component; `validate` has seen to it that there is one.
    pub fn of(&self, component: Component) -> String {
        self.get(component).unwrap_or_default().to_owned()
    }

    /// All our programs are in one image.
    pub const fn key(component: Component) -> &'static str {
        if component.is_store() { component.name() } else { "meridian" }
    }
}
