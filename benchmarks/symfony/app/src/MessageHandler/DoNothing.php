<?php

declare(strict_types=1);

namespace App\MessageHandler;

use App\Message\FooMessage;
use Symfony\Component\Messenger\Attribute\AsMessageHandler;

#[AsMessageHandler]
final class DoNothing
{
    public function __invoke(FooMessage $message): void
    {
        usleep(5);
    }
}
