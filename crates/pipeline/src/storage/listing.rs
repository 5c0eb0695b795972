//! Whole listings: what the pages of a storage come to. The only place that follows a cursor.

use std::future::Future;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::storage::{
    LevelPage, ListObjects, ListPage, ListedObject, Problem, StorageError, StorageOperation,
};

/// The pages of everything below `prefix`, in order. Ends with the first error.
pub(crate) fn list_pages<'a, S: ListObjects + ?Sized>(
    storage: &'a S,
    prefix: &'a str,
) -> BoxStream<'a, Result<ListPage, StorageError>> {
    follow(move |cursor| async move {
        let mut page = storage.list_page(prefix, cursor.as_deref()).await?;
        let cursor = page.next.take();
        Ok((page, cursor))
    })
}

/// The pages of what is directly under `prefix`, in order. Ends with the first error.
pub(crate) fn list_level_pages<'a, S: ListObjects + ?Sized>(
    storage: &'a S,
    prefix: &'a str,
) -> BoxStream<'a, Result<LevelPage, StorageError>> {
    follow(move |cursor| async move {
        let mut page = storage.list_level(prefix, cursor.as_deref()).await?;
        let cursor = page.next.take();
        Ok((page, cursor))
    })
}

/// Fetches one page after the other, the first without a cursor, until one brings none.
fn follow<'a, P, F>(
    fetch: impl Fn(Option<String>) -> F + Send + 'a,
) -> BoxStream<'a, Result<P, StorageError>>
where
    P: Send + 'a,
    F: Future<Output = Result<(P, Option<String>), StorageError>> + Send + 'a,
{
    enum Next {
        Page(Option<String>),
        End,
    }
    stream::try_unfold(Next::Page(None), move |next| {
        let fetched = match next {
            Next::Page(cursor) => Some(fetch(cursor)),
            Next::End => None,
        };
        async {
            let Some(fetched) = fetched else {
                return Ok(None);
            };
            let (page, cursor) = fetched.await?;
            let next = cursor.map_or(Next::End, |cursor| Next::Page(Some(cursor)));
            Ok(Some((page, next)))
        }
    })
    .boxed()
}

/// A place in a listing, which can be kept to go on from there in another process. What the storage puts
/// into it may not last longer than minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    next: Option<String>,
    is_at_end: bool,
}

impl Cursor {
    /// The next page of everything below `prefix`; `None` after the last one.
    ///
    /// # Errors
    ///
    /// The storage's; the cursor then stays where it is.
    pub(crate) async fn page<S: ListObjects + ?Sized>(
        &mut self,
        storage: &S,
        prefix: &str,
    ) -> Result<Option<ListPage>, StorageError> {
        if self.is_at_end {
            return Ok(None);
        }
        let mut page = storage.list_page(prefix, self.next.as_deref()).await?;
        self.next = page.next.take();
        self.is_at_end = self.next.is_none();
        Ok(Some(page))
    }
}

/// Everything below a prefix in one page, for prefixes that hold few.
///
/// # Errors
///
/// The first error of a page.
pub async fn list_entries(
    storage: &(impl ListObjects + ?Sized),
    prefix: &str,
) -> Result<ListPage, StorageError> {
    let mut listed = ListPage::default();
    let mut pages = list_pages(storage, prefix);
    while let Some(page) = pages.try_next().await? {
        listed.objects.extend(page.objects);
        listed.unreadable.extend(page.unreadable);
    }
    Ok(listed)
}

/// All objects below a prefix, for prefixes that hold few and nothing but objects.
///
/// # Errors
///
/// The first error of a page, and anything there that can't be an object.
pub async fn list_all(
    storage: &(impl ListObjects + ?Sized),
    prefix: &str,
) -> Result<Vec<ListedObject>, StorageError> {
    let listed = list_entries(storage, prefix).await?;
    match listed.unreadable.first() {
        None => Ok(listed.objects),
        Some(entry) => {
            let problem = Problem::Permanent(format!("`{}`: {}", entry.name, entry.reason));
            let error = StorageError::new(StorageOperation::List, prefix, problem);
            Err(error.with_hint("give it a name in UTF-8, or move it away"))
        }
    }
}

/// The number of objects below a prefix. Holds one page at a time.
///
/// # Errors
///
/// The first error of a page.
pub async fn count_objects(
    storage: &(impl ListObjects + ?Sized),
    prefix: &str,
) -> Result<u64, StorageError> {
    let mut objects = 0;
    let mut pages = list_pages(storage, prefix);
    while let Some(page) = pages.try_next().await? {
        objects += page.objects.len() as u64;
    }
    Ok(objects)
}
