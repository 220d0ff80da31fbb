<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

/** An event of plain data, without a base class. */
final class OrderPlaced
{
    public mixed $extra = null;

    public function __construct(public int $id = 1)
    {
    }
}
