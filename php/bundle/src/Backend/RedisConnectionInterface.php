<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/** @internal */
interface RedisConnectionInterface
{
    /**
     * All of the commands or none, in one round trip.
     *
     * @param list<list<string>> $commands
     *
     * @throws \RedisException|\Predis\PredisException|\RuntimeException
     */
    public function transaction(array $commands): void;
}
