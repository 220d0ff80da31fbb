// Our own module around a CommonJS package: in a bundle, a lazy import of the package itself would have no named exports.
export { pino } from "pino";
