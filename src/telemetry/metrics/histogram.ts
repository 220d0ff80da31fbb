// A module of our own around a CommonJS package: imported lazily by itself it would have no named exports when bundled.
export { build as buildHistogram, type Histogram } from "hdr-histogram-js";
