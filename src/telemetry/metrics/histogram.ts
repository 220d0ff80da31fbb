// Our own module around a CommonJS package: in a bundle, a lazy import of the package itself would have no named exports.
export { build as buildHistogram, type Histogram } from "hdr-histogram-js";
