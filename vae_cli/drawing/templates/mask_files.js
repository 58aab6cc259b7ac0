/* Masks as files. A mask is kept as what stands in its PNG: rows of a zero and one bit a pixel, deflated. */

async function piped(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The kept form of a mask of one byte a pixel, 0 or 1; null of an empty one. */
async function packed(mask, width, height) {
  if (!mask.includes(1)) return null;
  const stride = 1 + Math.ceil(width / 8), rows = new Uint8Array(stride * height);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++)
      if (mask[i]) rows[y * stride + 1 + (x >> 3)] |= 128 >> (x & 7);
  return piped(rows, new CompressionStream("deflate"));
}

async function unpack(kept, mask, width, height) {
  const stride = 1 + Math.ceil(width / 8), rows = await piped(kept, new DecompressionStream("deflate"));
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) mask[i] = (rows[y * stride + 1 + (x >> 3)] >> (7 - (x & 7))) & 1;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Fields of [bytes, number], one after another. */
function numbers(fields, isLittle) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    view[`setUint${8 * size}`](at, value, isLittle);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

function joined(parts) {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
  return bytes;
}

/** A PNG of one bit a pixel, white the hole. */
function png(kept, width, height) {
  const chunk = (name, content) => {
    const named = joined([new TextEncoder().encode(name), content]);
    return joined([numbers([[4, content.length]]), named, numbers([[4, crc32(named)]])]);
  };
  const header = numbers([[4, width], [4, height], [1, 1], [1, 0], [1, 0], [1, 0], [1, 0]]);
  const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
  return joined([signature, chunk("IHDR", header), chunk("IDAT", kept), chunk("IEND", new Uint8Array(0))]);
}

/** The parts of a zip that stores files, of [name, bytes], as they are. */
function zip(files) {
  const parts = [], directory = [];
  let offset = 0;
  for (const [name, content] of files) {
    const title = new TextEncoder().encode(name), size = content.length;
    const UTF8 = 0x800, DATE = 0x5c21; // of names; 1 January 2026
    const shared = [[2, 20], [2, UTF8], [2, 0], [2, 0], [2, DATE], [4, crc32(content)], [4, size], [4, size],
                    [2, title.length], [2, 0]];
    const local = joined([numbers([[4, 0x04034b50], ...shared], true), title]);
    const place = [[2, 0], [2, 0], [2, 0], [4, 0], [4, offset]];
    directory.push(numbers([[4, 0x02014b50], [2, 20], ...shared, ...place], true), title);
    parts.push(local, content);
    offset += local.length + size;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0), count = files.length;
  const end = [[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]];
  return [...parts, ...directory, numbers(end, true)];
}
