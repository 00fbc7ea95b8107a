//! Lists in pages: ordered by id, which is the order of making; the cursor is the last id that was seen.

/// Where a list goes on, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub after: Option<String>,
    pub limit: u32,
}

impl Page {
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    /// One more than asked for, so that we know whether there is a next page.
    pub(crate) fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    pub(crate) fn after_id(&self) -> &str {
        self.after.as_deref().unwrap_or("")
    }

    pub(crate) fn cut<T>(&self, mut items: Vec<T>, id: impl Fn(&T) -> String) -> Listed<T> {
        let more = items.len() > self.limit as usize;
        items.truncate(self.limit as usize);
        let next = if more { items.last().map(id) } else { None };
        Listed { items, next }
    }
}

/// A page of a list, and the cursor of the next one when there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_next_one_only_when_there_is_more() {
        let page = Page::first(2);
        let cut = |items: Vec<u8>| page.cut(items, u8::to_string);
        assert_eq!(cut(vec![1, 2, 3]), Listed { items: vec![1, 2], next: Some("2".to_owned()) });
        assert_eq!(cut(vec![1, 2]), Listed { items: vec![1, 2], next: None });
        assert_eq!(cut(vec![]), Listed { items: vec![], next: None });
    }
}
