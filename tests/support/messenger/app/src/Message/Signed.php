<?php

declare(strict_types=1);

namespace App\Message;

/** A handler that asks for signatures, from Symfony 7.4 on. */
final class Signed extends Message
{
}
