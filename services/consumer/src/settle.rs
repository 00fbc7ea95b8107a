//! Bringing what is stored of a partition up to the current meters: whenever they change, and when the partition is taken over.
//!
//! First the meters are begun, then the quarantine is looked through, then the past of new meters is counted. Until all of it is
//! done, nothing is claimed as processed (`progress`): a period that is closed has everything that its meters count.

use std::{sync::Arc, time::Duration};

use crate::{catalogue::Catalogue, flush::Stopped, partition::Worker};

impl Worker {
    /// Returns once there is a catalogue that what is stored was not brought up to.
    pub(crate) async fn unsettled(&self) -> Arc<Catalogue> {
        // Without a position nobody has read this partition, so nothing of it is stored.
        while self.position.is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.catalogue.meters_other_than(self.settled.as_deref()).await
    }

    /// One step. The next call goes on behind it; the last one notes that this catalogue is done with.
    pub(crate) async fn settle(&mut self, catalogue: &Catalogue) -> Result<(), Stopped> {
        let Some(position) = self.position else { return Ok(()) };
        {
            let _permit = self.permit().await;
            self.begin_meters(position, &catalogue.meters).await?;
        }
        if self.release_piece(position, catalogue).await? || self.backfill_piece(position, catalogue).await? {
            return Ok(());
        }
        let meters = catalogue.meters.hash();
        self.settled = Some(meters.to_owned());
        self.progress.settled(meters);
        Ok(())
    }
}
