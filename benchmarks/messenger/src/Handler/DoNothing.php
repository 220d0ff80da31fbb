<?php

declare(strict_types=1);

namespace App\Handler;

use App\Message\Nothing;

final class DoNothing
{
    public function __invoke(Nothing $nothing): void
    {
    }
}
