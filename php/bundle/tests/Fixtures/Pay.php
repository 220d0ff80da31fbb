<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

/** A message: what its handler does with it, and whatever else it holds. */
final class Pay
{
    public function __construct(public string $what, public string $data = '')
    {
    }
}
