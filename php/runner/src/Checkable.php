<?php

declare(strict_types=1);

namespace Fervo\Runner;

/** An application that tells `fervo-worker check --call-script` more than PHP's settings. */
interface Checkable
{
    /**
     * Without secrets: they are shown and logged. They travel in a header, so a few kilobytes at most.
     *
     * @return array<string, mixed> what JSON can express, by names that are not those of PHP's settings
     */
    public function facts(): array;
}
