import type { Config } from "../../../config/config.ts";
import { isOn } from "../../../config/options/concurrency.ts";
import { systemClock } from "../../../core/time/clock.ts";
import { type MessengerFacts, readMessengerFacts } from "../../../doctor/messenger_facts.ts";
import { CHECK_HEADER } from "../../../doctor/php.ts";
import { askScript } from "../../../doctor/script.ts";
import type { FastCgiResponse } from "../../../fastcgi/response.ts";
import type { CheckContext } from "./context.ts";

/** The answers of the pools' scripts to a check. Each script is asked once, when the first of the checks needs its answer. */
export class ScriptAnswers {
  readonly #config: Config;
  readonly #isAllowed: boolean;
  readonly #answers = new Map<string, Promise<FastCgiResponse>>();

  constructor({ config, options }: Pick<CheckContext, "config" | "options">) {
    this.#config = config;
    this.#isAllowed = options.callScript === true;
  }

  /** @throws {FervoError} */
  of(pool: string): Promise<FastCgiResponse> {
    const known = this.#answers.get(pool);
    if (known !== undefined) return known;
    const answer = askScript(systemClock, this.#config.fpm.get(pool)!);
    this.#answers.set(pool, answer);
    return answer;
  }

  /** What the application of a broker's consumers tells of Messenger; undefined when that is not known, or may not be asked. */
  async messengerFacts(broker: string): Promise<MessengerFacts | undefined> {
    if (!this.#isAllowed) return undefined;
    const consumers = this.#config.consumers.filter((consumer) => consumer.broker === broker);
    const pools = [...this.#config.fpm.keys()].filter((pool) =>
      consumers.some(({ executor }) => isOn(executor, pool))
    );
    for (const pool of pools) {
      const answer = await this.of(pool).catch(() => undefined);
      const facts = readMessengerFacts(answer?.headers.get(CHECK_HEADER));
      if (facts !== undefined) return facts;
    }
    return undefined;
  }
}
