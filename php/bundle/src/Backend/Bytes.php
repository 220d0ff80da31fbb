<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/**
 * A value of a binary column, which need not be text.
 *
 * @internal
 */
final class Bytes
{
    public function __construct(public readonly string $value)
    {
    }
}
