import type { ModeName } from "../../../bench/result.ts";

/** The options of the command line. */
export interface BenchFlags {
  readonly config?: string;
  readonly own?: true;
  readonly consumer?: string;
  readonly fpm?: string;
  readonly process?: string;
  readonly modes?: readonly ModeName[];
  readonly jobs: number;
  readonly concurrency?: number;
  readonly children?: number;
  readonly script?: string;
  readonly queue?: string;
  readonly payload: string;
  readonly rate?: number;
  readonly warmup: number;
  readonly repeat: number;
  readonly timeout: number;
  readonly yes?: true;
  readonly json?: string;
  readonly csv?: string;
  readonly html?: string;
}
