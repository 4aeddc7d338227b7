//! Reading FlatBuffers with every offset checked.
//!
//! Format: <https://flatbuffers.dev/internals/>. Anything that points outside of
//! the file is an error; nothing is copied before its length is known to be there.

/// Why a field cannot be read.
#[derive(Debug)]
pub(crate) struct Damaged(pub String);

type Result<T> = std::result::Result<T, Damaged>;

/// The whole file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffer<'a>(pub &'a [u8]);

impl<'a> Buffer<'a> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        at.checked_add(N)
            .and_then(|end| self.0.get(at..end))
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| Damaged(format!("offset {at} lies outside of the file")))
    }

    fn u16(&self, at: usize) -> Result<usize> {
        self.bytes(at).map(|b| usize::from(u16::from_le_bytes(b)))
    }

    fn u32(&self, at: usize) -> Result<usize> {
        // usize has at least 32 bits wherever this runs.
        self.bytes(at).map(|b| u32::from_le_bytes(b) as usize)
    }

    /// The table or vector that the offset at `at` points to.
    fn follow(&self, at: usize) -> Result<usize> {
        at.checked_add(self.u32(at)?).ok_or_else(|| Damaged(format!("offset at {at} overflows")))
    }

    /// The root table.
    pub fn root(self) -> Result<Table<'a>> {
        Table::at(self, self.follow(0)?)
    }
}

/// A table: fields by number, all optional.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    buffer: Buffer<'a>,
    at: usize,
    vtable: usize,
    vtable_len: usize,
}

impl<'a> Table<'a> {
    fn at(buffer: Buffer<'a>, at: usize) -> Result<Self> {
        let back = i64::from(i32::from_le_bytes(buffer.bytes(at)?));
        let vtable =
            usize::try_from(at as i64 - back).map_err(|_| Damaged(format!("the table at {at} has no vtable")))?;
        Ok(Self { buffer, at, vtable, vtable_len: buffer.u16(vtable)? })
    }

    /// Position of a field's value, `None` if it is absent.
    fn field(&self, number: usize) -> Result<Option<usize>> {
        let slot = 4 + 2 * number;
        if slot + 2 > self.vtable_len {
            return Ok(None);
        }
        let offset = self.buffer.u16(self.vtable + slot)?;
        Ok((offset != 0).then_some(self.at + offset))
    }

    pub fn u8(&self, number: usize, default: u8) -> Result<u8> {
        self.field(number)?.map_or(Ok(default), |at| self.buffer.bytes::<1>(at).map(|b| b[0]))
    }

    pub fn i32(&self, number: usize, default: i32) -> Result<i32> {
        self.field(number)?.map_or(Ok(default), |at| self.buffer.bytes(at).map(i32::from_le_bytes))
    }

    pub fn f32(&self, number: usize, default: f32) -> Result<f32> {
        self.field(number)?.map_or(Ok(default), |at| self.buffer.bytes(at).map(f32::from_le_bytes))
    }

    pub fn table(&self, number: usize) -> Result<Option<Table<'a>>> {
        match self.field(number)? {
            None => Ok(None),
            Some(at) => Table::at(self.buffer, self.buffer.follow(at)?).map(Some),
        }
    }

    /// The bytes of a vector of scalars of `size` bytes each; empty if absent.
    fn vector(&self, number: usize, size: usize) -> Result<&'a [u8]> {
        let Some(at) = self.field(number)? else {
            return Ok(&[]);
        };
        let start = self.buffer.follow(at)?;
        let len = self.buffer.u32(start)?;
        len.checked_mul(size)
            .and_then(|bytes| Some((start.checked_add(4)?, start.checked_add(4)?.checked_add(bytes)?)))
            .and_then(|(from, to)| self.buffer.0.get(from..to))
            .ok_or_else(|| Damaged(format!("a list of {len} entries at {start} reaches outside of the file")))
    }

    pub fn u8s(&self, number: usize) -> Result<&'a [u8]> {
        self.vector(number, 1)
    }

    pub fn i32s(&self, number: usize) -> Result<Vec<i32>> {
        Ok(words(self.vector(number, 4)?).map(i32::from_le_bytes).collect())
    }

    pub fn i64s(&self, number: usize) -> Result<Vec<i64>> {
        Ok(words(self.vector(number, 8)?).map(i64::from_le_bytes).collect())
    }

    pub fn f32s(&self, number: usize) -> Result<Vec<f32>> {
        Ok(words(self.vector(number, 4)?).map(f32::from_le_bytes).collect())
    }

    pub fn text(&self, number: usize) -> Result<String> {
        Ok(String::from_utf8_lossy(self.vector(number, 1)?).into_owned())
    }

    /// Number of entries of a list of tables.
    pub fn count(&self, number: usize) -> Result<usize> {
        Ok(self.vector(number, 4)?.len() / 4)
    }

    /// Entry of a list of tables.
    pub fn entry(&self, number: usize, index: usize) -> Result<Table<'a>> {
        let missing = || Damaged(format!("entry {index} of a list is missing"));
        let at = self.field(number)?.ok_or_else(missing)?;
        let start = self.buffer.follow(at)?;
        if index >= self.count(number)? {
            return Err(missing());
        }
        Table::at(self.buffer, self.buffer.follow(start + 4 + 4 * index)?)
    }
}

/// Little-endian words of a byte list.
pub(crate) fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.chunks_exact(N).map(|chunk| {
        let mut word = [0; N];
        word.copy_from_slice(chunk);
        word
    })
}
