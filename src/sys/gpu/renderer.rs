use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::context::{Context, Imported};
use super::egl::Libraries;
use super::import::same;
use super::thread::Read;
use super::{GpuError, GpuImage, GpuWindow};

/// The most buffers that stay imported: two heads' worth of triple buffering. Each keeps its memory alive.
const MAX_IMPORTS: usize = 8;

/// The render nodes of this machine, and what was imported into them.
pub(super) struct Renderer {
    libraries: &'static Libraries,
    nodes: Vec<Node>,
    /// The one used last comes first.
    imports: VecDeque<CachedImport>,
}

struct Node {
    path: PathBuf,
    state: NodeState,
}

enum NodeState {
    Unopened,
    Open(Box<Context<'static>>),
    Failed(GpuError),
}

struct CachedImport {
    /// Keeps the files open, so that no other memory gets their numbers.
    image: Arc<GpuImage>,
    node: usize,
    imported: Imported,
}

impl Renderer {
    /// Opens the first of these nodes that can be used. The others wait for a buffer that it cannot import.
    pub(super) fn open(nodes: Vec<PathBuf>) -> Result<Self, GpuError> {
        // For as long as the program runs, as the libraries themselves.
        let libraries = Box::leak(Box::new(Libraries::load()?));
        let nodes = nodes.into_iter().map(|path| Node { path, state: NodeState::Unopened }).collect();
        let mut renderer = Self { libraries, nodes, imports: VecDeque::new() };
        let mut errors = Vec::new();
        for node in &mut renderer.nodes {
            match node.context(libraries) {
                Ok(_) => return Ok(renderer),
                Err(error) => errors.push(error),
            }
        }
        Err(match errors.pop() {
            Some(only) if errors.is_empty() => only,
            last => GpuError::Nodes(join(errors.into_iter().chain(last).map(|error| error.to_string()))),
        })
    }

    /// Puts the import of an image to the front, making it if there is none.
    fn import(&mut self, image: &Arc<GpuImage>) -> Result<(), GpuError> {
        if let Some(known) = self.imports.iter().position(|import| same(&import.image, image)) {
            if let Some(import) = self.imports.remove(known) {
                self.imports.push_front(import);
            }
            return Ok(());
        }
        let mut errors = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let imported = match node.context(self.libraries) {
                Ok(context) => context.import(image),
                Err(error) => {
                    errors.push(error.to_string());
                    continue;
                }
            };
            match imported {
                Ok(imported) => {
                    self.imports.push_front(CachedImport { image: image.clone(), node: index, imported });
                    self.forget_beyond(MAX_IMPORTS);
                    return Ok(());
                }
                Err(error) => errors.push(format!("{} cannot import it: {error}", node.path.display())),
            }
        }
        Err(GpuError::Nodes(join(errors)))
    }

    fn forget_beyond(&mut self, count: usize) {
        while self.imports.len() > count {
            let Some(import) = self.imports.pop_back() else { return };
            if let Some(Node { state: NodeState::Open(context), .. }) = self.nodes.get(import.node) {
                context.forget(import.imported);
            }
        }
    }
}

impl Read for Renderer {
    fn read(&mut self, image: &Arc<GpuImage>, window: GpuWindow) -> Result<Vec<u8>, GpuError> {
        self.import(image)?;
        let import = self.imports.front().ok_or(GpuError::Gone)?;
        let node = self.nodes.get_mut(import.node).ok_or(GpuError::Gone)?;
        let context = node.context(self.libraries)?;
        let read = context.read(&import.imported, (image.width, image.height), window);
        if read.is_err() {
            // What is wrong may be the import: the next read makes another.
            self.forget();
        }
        read
    }

    fn forget(&mut self) {
        self.forget_beyond(0);
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Node {
    fn context(&mut self, libraries: &'static Libraries) -> Result<&mut Context<'static>, GpuError> {
        if matches!(self.state, NodeState::Unopened) {
            self.state = match Context::open(libraries, &self.path) {
                Ok(context) => NodeState::Open(Box::new(context)),
                Err(error) => NodeState::Failed(error),
            };
        }
        match &mut self.state {
            NodeState::Open(context) => Ok(context),
            NodeState::Failed(error) => Err(error.clone()),
            NodeState::Unopened => Err(GpuError::Gone),
        }
    }
}

fn join(errors: impl IntoIterator<Item = String>) -> String {
    errors.into_iter().collect::<Vec<_>>().join("; ")
}
