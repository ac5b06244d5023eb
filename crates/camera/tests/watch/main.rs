//! A folder that another program fills, from its files to the queue.

#[cfg(test)]
mod folder;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod pairs;
