<?php

declare(strict_types=1);

namespace App\Message;

/** Two handlers. */
final class Pair extends Message
{
}
