//! A writer of Parquet files that writes whatever it is told, true or not.

/// A structure of the Thrift compact protocol, field by field.
#[derive(Default, Clone)]
pub struct Thrift {
    bytes: Vec<u8>,
    last: i64,
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(number as u8 & 127 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn zigzag(number: i64) -> Vec<u8> {
    varint((number << 1 ^ number >> 63) as u64)
}

impl Thrift {
    fn field(mut self, number: i64, kind: u8, value: &[u8]) -> Self {
        self.bytes.push((number - self.last) as u8 * 16 + kind);
        self.last = number;
        self.bytes.extend_from_slice(value);
        self
    }

    pub fn int(self, number: i64, value: i64) -> Self {
        self.field(number, 5, &zigzag(value))
    }

    pub fn long(self, number: i64, value: i64) -> Self {
        self.field(number, 6, &zigzag(value))
    }

    pub fn text(self, number: i64, value: &str) -> Self {
        let bytes = [varint(value.len() as u64), value.as_bytes().to_vec()].concat();
        self.field(number, 8, &bytes)
    }

    pub fn list(self, number: i64, kind: u8, values: &[Vec<u8>]) -> Self {
        let head = [vec![0xf0 | kind], varint(values.len() as u64)].concat();
        self.field(number, 9, &[head, values.concat()].concat())
    }

    pub fn inner(self, number: i64, value: &Thrift) -> Self {
        self.field(number, 12, &value.clone().end())
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

/// Physical types.
pub const INT32: i64 = 1;
pub const BYTES: i64 = 6;
/// Converted types.
pub const UTF8: i64 = 0;
pub const ENUM: i64 = 4;
pub const DATE: i64 = 6;
pub const JSON: i64 = 19;
/// Codecs.
pub const PLAIN_BYTES: i64 = 0;
/// Encodings.
pub const PLAIN: i64 = 0;
pub const DELTA_LENGTH: i64 = 6;
pub const DELTA_TEXT: i64 = 7;
pub const RLE_DICTIONARY: i64 = 8;

/// A page: its bytes as they are written, and what its header says of them.
#[derive(Clone)]
pub struct Page {
    pub body: Vec<u8>,
    pub dictionary: bool,
    pub values: i64,
    pub encoding: i64,
    /// What it is said to decompress to.
    pub uncompressed: i64,
    pub checksum: Option<u32>,
}

impl Page {
    pub fn data(body: Vec<u8>, values: i64, encoding: i64) -> Self {
        Page {
            uncompressed: body.len() as i64,
            body,
            dictionary: false,
            values,
            encoding,
            checksum: None,
        }
    }

    /// The same value again and again: the first of the dictionary.
    pub fn repeated(values: i64) -> Self {
        let body = [vec![1], varint((values as u64) << 1), vec![0]].concat();
        Page::data(body, values, RLE_DICTIONARY)
    }

    pub fn dictionary(texts: &[&[u8]]) -> Self {
        Page {
            dictionary: true,
            ..Page::data(plain(texts), texts.len() as i64, PLAIN)
        }
    }

    fn written(&self) -> Vec<u8> {
        let values = Thrift::default().int(1, self.values).int(2, self.encoding);
        let mut header = Thrift::default()
            .int(1, if self.dictionary { 2 } else { 0 })
            .int(2, self.uncompressed)
            .int(3, self.body.len() as i64);
        if let Some(checksum) = self.checksum {
            header = header.int(4, i64::from(checksum as i32));
        }
        header = if self.dictionary {
            header.inner(7, &values)
        } else {
            header.inner(5, &values.int(3, 3).int(4, 3))
        };
        [header.end(), self.body.clone()].concat()
    }
}

/// Texts one after the other, each after its length.
pub fn plain(texts: &[&[u8]]) -> Vec<u8> {
    let text = |text: &&[u8]| [(text.len() as u32).to_le_bytes().to_vec(), text.to_vec()].concat();
    texts.iter().flat_map(text).collect()
}

/// A required column.
#[derive(Clone)]
pub struct Column {
    pub name: String,
    pub physical: i64,
    pub converted: Option<i64>,
    pub pages: Vec<Page>,
}

impl Column {
    /// A column of texts.
    pub fn texts(name: &str, converted: Option<i64>, pages: Vec<Page>) -> Self {
        Column {
            name: name.to_owned(),
            physical: BYTES,
            converted,
            pages,
        }
    }

    /// One text for all rows.
    pub fn one_text(name: &str, text: &[u8], rows: i64) -> Self {
        Column::texts(name, Some(UTF8), vec![Page::dictionary(&[text]), Page::repeated(rows)])
    }

    /// One day for all rows.
    pub fn one_day(name: &str, day: i32, rows: i64) -> Self {
        let dictionary = Page {
            body: day.to_le_bytes().to_vec(),
            uncompressed: 4,
            ..Page::dictionary(&[b""])
        };
        Column {
            name: name.to_owned(),
            physical: INT32,
            converted: Some(DATE),
            pages: vec![dictionary, Page::repeated(rows)],
        }
    }
}

/// A file, and what its footer says of it.
#[derive(Clone)]
pub struct Crafted {
    pub columns: Vec<Column>,
    pub rows: i64,
    /// The rows of the whole file by its footer, where they are not those of its groups.
    pub counted: Option<i64>,
    pub codec: i64,
    /// How many row groups describe the same bytes.
    pub groups: usize,
    /// Key-value metadata.
    pub noted: Vec<(String, String)>,
    /// The schema, where it is not that of the columns.
    pub schema: Option<Vec<Vec<u8>>>,
}

impl Crafted {
    /// Equal events of one consumer.
    pub fn events(rows: i64) -> Self {
        Crafted {
            columns: vec![
                Column::one_text("user", b"u", rows),
                Column::one_text("brand", b"x", rows),
                Column::one_text("action", b"view", rows),
                Column::one_day("day", 19_904, rows),
            ],
            rows,
            counted: None,
            codec: PLAIN_BYTES,
            groups: 1,
            noted: Vec::new(),
            schema: None,
        }
    }

    pub fn column(&mut self, name: &str) -> &mut Column {
        self.columns
            .iter_mut()
            .find(|column| column.name == name)
            .unwrap_or_else(|| panic!("a column {name}"))
    }

    pub fn written(&self) -> Vec<u8> {
        let (mut out, mut chunks) = (b"PAR1".to_vec(), Vec::new());
        let mut schema = vec![Thrift::default().text(4, "root").int(5, self.columns.len() as i64).end()];
        for column in &self.columns {
            let mut element = Thrift::default().int(1, column.physical).int(3, 0).text(4, &column.name);
            if let Some(converted) = column.converted {
                element = element.int(6, converted);
            }
            schema.push(element.end());
            chunks.push(self.chunk(column, &mut out));
        }
        let group = Thrift::default()
            .list(1, 12, &chunks)
            .long(2, out.len() as i64)
            .long(3, self.rows)
            .end();
        let mut footer = Thrift::default()
            .int(1, 1)
            .list(2, 12, self.schema.as_ref().unwrap_or(&schema))
            .long(3, self.counted.unwrap_or(self.rows * self.groups as i64))
            .list(4, 12, &vec![group; self.groups]);
        if !self.noted.is_empty() {
            let pair = |(key, value): &(String, String)| Thrift::default().text(1, key).text(2, value).end();
            footer = footer.list(5, 12, &self.noted.iter().map(pair).collect::<Vec<_>>());
        }
        let footer = footer.text(6, "crafted").end();
        out.extend_from_slice(&footer);
        out.extend_from_slice(&(footer.len() as u32).to_le_bytes());
        out.extend_from_slice(b"PAR1");
        out
    }

    /// Writes the pages of a column and gives its description.
    fn chunk(&self, column: &Column, out: &mut Vec<u8>) -> Vec<u8> {
        let (start, mut first) = (out.len() as i64, None);
        for page in &column.pages {
            if !page.dictionary {
                first.get_or_insert(out.len() as i64);
            }
            out.extend(page.written());
        }
        let size = out.len() as i64 - start;
        let encodings: Vec<Vec<u8>> = column.pages.iter().map(|page| zigzag(page.encoding)).collect();
        let name = [varint(column.name.len() as u64), column.name.clone().into_bytes()].concat();
        let mut described = Thrift::default()
            .int(1, column.physical)
            .list(2, 5, &[encodings, vec![zigzag(3)]].concat())
            .list(3, 8, &[name])
            .int(4, self.codec)
            .long(5, self.rows)
            .long(6, size)
            .long(7, size)
            .long(9, first.unwrap_or(start));
        if column.pages.first().is_some_and(|page| page.dictionary) {
            described = described.long(11, start);
        }
        Thrift::default().long(2, start).inner(3, &described).end()
    }
}

/// Groups within groups, with one column at the bottom.
pub fn nested(depth: usize) -> Vec<Vec<u8>> {
    let mut schema = vec![Thrift::default().text(4, "root").int(5, 1).end()];
    schema.extend(vec![Thrift::default().int(3, 1).text(4, "g").int(5, 1).end(); depth]);
    schema.push(Thrift::default().int(1, INT32).int(3, 1).text(4, "x").end());
    schema
}

/// Numbers as DELTA_BINARY_PACKED, in blocks of 128 with four miniblocks.
pub fn packed_steps(numbers: &[i64]) -> Vec<u8> {
    let first = numbers.first().copied().unwrap_or(0);
    let mut bytes = [varint(128), varint(4), varint(numbers.len() as u64), zigzag(first)].concat();
    let steps: Vec<i64> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for block in steps.chunks(128) {
        let least = block.iter().copied().min().unwrap_or(0);
        let offsets: Vec<Vec<u64>> = block
            .chunks(32)
            .map(|miniblock| {
                (0..32)
                    .map(|at| miniblock.get(at).map_or(0, |step| (step - least) as u64))
                    .collect()
            })
            .collect();
        let width = |offsets: &Vec<u64>| offsets.iter().map(|offset| 64 - offset.leading_zeros()).max().unwrap_or(0);
        bytes.extend(zigzag(least));
        bytes.extend((0..4).map(|at| offsets.get(at).map_or(0, width) as u8));
        for miniblock in &offsets {
            let (mut word, mut held) = (0u128, 0);
            for offset in miniblock {
                word |= u128::from(*offset) << held;
                held += width(miniblock);
                while held >= 8 {
                    bytes.push(word as u8);
                    (word, held) = (word >> 8, held - 8);
                }
            }
        }
    }
    bytes
}

/// The header of so many numbers as DELTA_BINARY_PACKED, and a few of them.
pub fn declared_steps(count: u64) -> Vec<u8> {
    [varint(128), varint(4), varint(count), zigzag(0), vec![0; 64]].concat()
}
