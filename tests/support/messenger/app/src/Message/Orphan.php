<?php

declare(strict_types=1);

namespace App\Message;

/** No handler. */
final class Orphan extends Message
{
}
